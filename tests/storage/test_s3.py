"""Places: addresses, patterns, what a failing store is said to be; and, with moto, objects as files."""

import re
from pathlib import Path

import pytest
import s3
from hypothesis import given
from hypothesis import strategies as st

from curate.errors import CurateError, SchemaError
from curate.pool import mixture, pool
from curate.storage import files, listing
from curate.storage import s3 as stores
from curate.tables import out_folder
from curate.training_set import draw

AT = Path("s3://data/a/b.parquet")


def test_a_path_of_an_object_is_known_and_spelled_as_it_was_given():
    assert stores.remote(AT) and stores.remote(AT.parent) and not stores.remote(Path("a/s3:/b"))
    assert stores.shown(AT) == "s3://data/a/b.parquet"
    assert stores.spelled(f"no {AT} and no s3://x/y") == "no s3://data/a/b.parquet and no s3://x/y"
    assert stores.shown(Path("/tmp/x")) == "/tmp/x"


@pytest.mark.parametrize("item", ["s3://", "s3://b*/x", "s3://key:secret@bucket/x", "s3://bucket/../other/x"])
def test_an_address_that_cannot_be_one_is_refused_without_being_repeated(item):
    with pytest.raises(SchemaError, match="an address must be s3://bucket/key") as caught:
        stores.listed(item)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "pattern, yes, no",
    [
        ("*.parquet", ["a.parquet"], ["a/b.parquet", "a.parquet.tmp"]),
        ("**/*.parquet", ["a.parquet", "a/b/c.parquet"], ["a/b"]),
        ("a?/[bc]*", ["ax/b", "ay/cd"], ["a/b", "ax/d", "ax/b/c"]),
        ("[!a]+", ["b+"], ["a+", "bb"]),
        ("a**", ["a", "a/b/c"], ["b"]),
    ],
)
def test_patterns_mean_what_they_mean_on_disk(pattern, yes, no):
    expression = listing.pattern(pattern)
    assert [name for name in yes + no if expression.fullmatch(name)] == yes


@given(st.text(alphabet="ab*?[!]/.+\\", max_size=8))
def test_any_pattern_can_be_read(pattern):
    listing.pattern(pattern).fullmatch("a/b")


@given(st.lists(st.sampled_from(["a", "b.c", "..", ".", ""]), min_size=1, max_size=4))
def test_no_name_leads_out_of_a_prefix(parts):
    name = "/".join(parts)
    try:
        inside = files.inside(Path("s3://data/out"), name)
    except SchemaError:
        assert {"", ".", ".."} & set(parts)
    else:
        assert str(inside) == f"s3:/data/out/{name}"


def test_a_store_that_fails_is_told_from_bad_content_and_keeps_credentials_to_itself(monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush-hush")
    error = OSError("When reading\n key: AWS Error NETWORK_CONNECTION with hush-hush during GetObject")
    result = stores.trouble(error, AT)
    assert isinstance(result, CurateError) and not isinstance(result, SchemaError)
    assert "\n" not in str(result) and "hush-hush" not in str(result) and "s3://data/a/b.parquet" in str(result)
    login = stores.trouble(OSError("AWS Error at http://me:pass-word@host:9000/x"), AT)
    assert "pass-word" not in str(login) and "host:9000" in str(login)
    assert stores.trouble(OSError("Corrupt snappy data"), AT) is None
    assert stores.trouble(error, Path("/local/file")) is None
    assert stores.trouble(result, AT) is result


@pytest.fixture(scope="module")
def store():
    with s3.server() as url, pytest.MonkeyPatch.context() as patch:
        for name, value in {**s3.ENVIRONMENT, "AWS_ENDPOINT_URL": url}.items():
            patch.setenv(name, value)
        s3.request(url, "PUT", f"/{s3.BUCKET}")
        yield url


@pytest.mark.slow
@s3.needs_moto
def test_an_object_is_written_read_stamped_and_removed(store, tmp_path):
    path = Path("s3://data/one/x.txt")
    assert not files.exists(path)
    files.write_text(path, "hällo")
    first = files.stamp(path)
    assert files.exists(path) and files.read_text(path) == "hällo" and files.size(path) == 6
    assert not files.exists(path.parent) and not files.exists(Path("s3://data/one/x"))
    with files.opened(path) as file:
        file.seek(3)
        assert file.read(2) == b"ll"
    files.write_text(path, "other")
    assert files.stamp(path) != first
    files.write_text(path, "hällo")
    assert files.stamp(path) == first, "the same content is the same, whenever it was written"
    files.remove(path)
    files.remove(path)
    assert not files.exists(path)


@pytest.mark.slow
@s3.needs_moto
def test_a_folder_of_objects_is_listed_hashed_and_removed(store):
    for name in ("b.json", "a/c.json", "a/d.txt", "_curate/e.json", ".f.json"):
        files.write_text(Path("s3://data/two") / name, name)
    files.write_text(Path("s3://data/two-more/g.json"), "g")
    assert [name for _, name in sorted(files.listed("s3://data/two"))] == ["a/c.json", "a/d.txt", "b.json"]
    assert len(files.below(Path("s3://data/two"), ".json")) == 4
    before = files.content_hash(Path("s3://data/two"))
    files.write_text(Path("s3://data/two/_curate/e.json"), "records do not count")
    assert files.content_hash(Path("s3://data/two")) == before
    files.write_text(Path("s3://data/two/b.json"), "content does")
    assert files.content_hash(Path("s3://data/two")) != before
    files.remove(Path("s3://data/two"))
    assert files.below(Path("s3://data/two"), "") == []
    assert files.exists(Path("s3://data/two-more/g.json"))


@pytest.mark.slow
@s3.needs_moto
def test_an_empty_and_a_large_object_come_back(store, tmp_path):
    for size in (0, 1, 11 << 20):
        (tmp_path / "x").write_bytes(bytes(range(256)) * (size // 256) + b"x" * (size % 256))
        stores.put(tmp_path / "x", Path("s3://data/three"))
        assert stores.read(Path("s3://data/three")) == (tmp_path / "x").read_bytes()


@pytest.mark.slow
@s3.needs_moto
def test_a_bucket_that_is_not_there_is_said(store):
    with pytest.raises(CurateError, match=r"s3://nobody/x: the store failed.*[Bb]ucket"):
        files.write_text(Path("s3://nobody/x"), "x")
    with pytest.raises(FileNotFoundError):
        files.read_text(Path("s3://nobody/x"))


def test_a_training_set_is_not_drawn_to_a_store(tmp_path):
    part = mixture.Part(pool.Pool("a", 10.0, 5, (str(tmp_path),)), 10)
    with pytest.raises(SchemaError, match="from disk to disk"):
        draw.draw(mixture.Mixture((part,), (), 1e6, "a test"), Path("s3://data/out"))
    assert not Path("s3:").exists()


@pytest.mark.parametrize(
    "data, out, refused",
    [
        ("s3://b/in", "s3://b/in", True),
        ("s3://b/in", "s3://b/in/scores", True),
        ("s3://b/in/", "s3://b/in/_scores", False),
        ("s3://b/in", "s3://b/in2", False),
        ("s3://b/in", "s3://b/out", False),
        ("s3://b/in", "out", False),
        ("in", "s3://b/in", False),
        ("s3://b/in/*.jsonl", "s3://b/in", False),
        ("s3://b/in/**", "s3://b/in/x", True),
        ("s3://b/in/a.jsonl", "s3://b/in", False),
        ("s3://b/in/x", "s3://b/in", False),
    ],
)
def test_outputs_do_not_go_among_the_objects_that_are_read(data, out, refused):
    names = ["a.jsonl.scores.parquet", "b/c.parquet.scores.parquet"]
    if not refused:
        out_folder.check(Path(out), [data], names)
        return
    with pytest.raises(
        SchemaError, match=f"--out {out} .* the input {re.escape(data)}: outputs would be read as inputs"
    ):
        out_folder.check(Path(out), [data], names)


def test_hidden_objects_are_named_by_the_folder_that_hides_them(monkeypatch):
    names = ["a.jsonl", "_web/a.jsonl", "_web/b/c.jsonl", ".x", "b/_y.jsonl", "b/.z/a"]
    monkeypatch.setattr(stores, "listed", lambda item: [(Path(f"s3://b/{name}"), name) for name in names])
    seen = files.listing("s3://b")
    assert [name for _, name in seen.files] == ["a.jsonl"]
    assert seen.hidden == ["_web", "b/_y.jsonl"]
