"""Requirements over columns of inputs: a file lacks a column or cannot be read, and texts are joined or computed."""

import json

import polars as pl
import pytest
from conftest import one_line

from curate import prune, score, why
from curate.errors import SchemaError


@pytest.fixture
def data(tmp_path):
    """Three files: ``a`` cannot be read, ``b`` lacks what ``c`` has."""
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "a.parquet").write_bytes(b"nonsense")
    pl.DataFrame({"id": ["b0", "b1"], "body": ["Aa", "Bb"], "end": ["x", None]}).write_parquet(folder / "b.parquet")
    more = {"quality": [0.1, 0.9, None], "meta": [{"lang": "en"}, {"lang": "de"}, None]}
    later = pl.DataFrame({"id": ["c0", "c1", "c2"], "body": ["Aa", "Cc", None], "end": ["y", "z", None]} | more)
    later.write_parquet(folder / "c.parquet")
    return folder


def kept(folder) -> dict[str, str]:
    """Return the reason of each row by its id."""
    parts = [pl.read_parquet(path) for path in sorted(folder.glob("*.keep.parquet"))]
    return dict(pl.concat(parts).select("id", "reason").iter_rows())


@pytest.mark.parametrize(
    ("condition", "met"),
    [
        ("quality > 0.5", ["c1"]),
        ("NOT quality > 0.5", ["c0"]),
        ("quality IS NULL", ["b0", "b1", "c2"]),
        ("meta.lang = 'en'", ["c0"]),
        ("COALESCE(meta.lang, 'none') = 'none'", ["b0", "b1", "c2"]),
        ("quality > 0.5 OR body = 'Bb'", ["b1", "c1"]),
    ],
)
def test_a_column_that_one_input_lacks_is_null_in_its_rows(data, tmp_path, condition, met):
    score(data, ["length"], tmp_path / "scores", text_column="body")
    pruned = prune(tmp_path / "scores", tmp_path / "kept", require=[condition])
    reasons = kept(tmp_path / "kept")
    assert [name for name, reason in reasons.items() if reason == "kept"] == met
    assert set(reasons.values()) == {"kept", condition}
    (note,) = [note for note in pruned.notes if "is missing from" in note]
    column = "meta.lang" if "meta" in condition else "quality"
    assert note.startswith(f"--require: '{column}' is missing from 1 of 2 inputs, such as {data / 'b.parquet'}")


@pytest.mark.parametrize(
    ("condition", "met", "lacking"),
    [
        ("meta.lang = 'en'", ["a0"], 1),
        ("meta.lang IS NULL", ["a1", "b0", "b1"], 1),
        ("meta.url.host = 'x'", ["b0"], 1),
        ("meta.same > 1", ["a1", "b1"], 0),
    ],
)
def test_a_field_that_the_structs_of_one_input_lack_is_null(tmp_path, condition, met, lacking):
    """Lines of JSON have other fields in other files; an input without any line lacks nothing."""
    (tmp_path / "data").mkdir()
    lines = {
        "a": [{"same": 1, "lang": "en"}, {"same": 2, "url": {"path": "p"}}],
        "b": [{"same": 1, "url": {"host": "x"}}, {"same": 2}],
        "c": [],
    }
    for name, rows in lines.items():
        text = "".join(
            json.dumps({"id": f"{name}{i}", "text": "words", "meta": meta}) + "\n" for i, meta in enumerate(rows)
        )
        (tmp_path / "data" / f"{name}.jsonl").write_text(text)
    score(tmp_path / "data", ["length"], tmp_path / "scores")
    pruned = prune(tmp_path / "scores", tmp_path / "kept", require=[condition])
    assert [name for name, reason in kept(tmp_path / "kept").items() if reason == "kept"] == met
    assert [note for note in pruned.notes if "is missing from 1 of 3 inputs" in note] == list(pruned.notes)
    assert len(pruned.notes) == lacking
    for fate in why(tmp_path / "kept", ["a0", "b0"]).rows:
        assert [result.met for result in fate.requirements] == [fate.id in met]


def test_a_column_that_no_input_has_is_an_error(data, tmp_path):
    score(data, ["length"], tmp_path / "scores", text_column="body")
    with pytest.raises(SchemaError, match="names 'qualty', which is no column"):
        prune(tmp_path / "scores", tmp_path / "kept", require=["qualty > 0.5"])


@pytest.mark.parametrize(
    ("options", "condition", "met"),
    [
        ({"join": "body,end"}, "text LIKE 'Aa%y'", ["c0"]),
        ({"join": "body,end"}, "text = 'Bb'", ["b1"]),
        ({"columns": "text=lower(body)"}, "text = 'aa' AND body = 'Aa'", ["b0", "c0"]),
    ],
)
def test_the_text_may_be_joined_or_computed(data, tmp_path, options, condition, met):
    score(data, ["length"], tmp_path / "scores", **options)
    pruned = prune(tmp_path / "scores", tmp_path / "kept", require=[condition])
    assert [name for name, reason in kept(tmp_path / "kept").items() if reason == "kept"] == met
    shown = dict(pruned.removal.examples.select("id", "text").iter_rows())
    assert shown["c1"] == ("Cc z" if "join" in options else "cc")


@pytest.mark.parametrize(
    ("condition", "remedy"),
    [
        ("meta.language = 'en'", "there is no field 'language'). meta has the fields lang"),
        ("day > '2026-01-20'", "Write a date as DATE '2026-01-31'"),
    ],
)
def test_a_wrong_type_is_told_with_what_to_write(tmp_path, cli, condition, remedy):
    rows = {"id": ["r0"], "text": ["words"], "meta": [{"lang": "en"}], "day": pl.Series([20_000]).cast(pl.Date)}
    pl.DataFrame(rows).write_parquet(tmp_path / "rows.parquet")
    score(tmp_path / "rows.parquet", ["length"], tmp_path / "scores")
    assert remedy in one_line(cli("prune", tmp_path / "scores", "--require", condition, "--out", tmp_path / "kept"))
