"""Files that are not read, names that cannot be used, and outputs among inputs: what the user is told."""

import json
import os
import re
import subprocess
import sys
from errno import EACCES
from pathlib import Path

import polars as pl
import pyarrow.feather
import pytest
from conftest import documents, one_line, tree

from curate.errors import SchemaError, first_few
from curate.storage import listing
from curate.tables import shards
from curate.tables.shards import inputs

LONG = "x" * 231 + ".jsonl"


def changes(folder):
    """When a folder and those in it last changed: a file that was made and removed again shows here."""
    return {path: path.stat().st_mtime_ns for path in (folder, *folder.rglob("*")) if path.is_dir()}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, where ``data/web/a.jsonl`` lies."""
    monkeypatch.chdir(tmp_path)
    lines("data/web/a.jsonl")
    return tmp_path


def lines(name, rows=3, start=0):
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(documents(rows, start).write_ndjson())


def score(cli, *data, out="out"):
    return cli("score", *data, "--scorer", "length", "--out", out)


def scores(out="out"):
    return sorted(name for name in tree(Path(out)) if name.endswith(".scores.parquet"))


def warnings(result):
    return [line for line in result.err.splitlines() if line.startswith("warning: ")]


def test_files_that_are_not_read_are_named_in_the_run_in_the_dry_run_and_as_json(cli, folder):
    for name in ("b.xyz", "c.txt", "README.md", "LICENSE", "_SUCCESS", ".a.jsonl.crc", "SHA256SUMS"):
        Path("data", name).write_text("x")
    result = score(cli, "data")
    assert result.code == 0
    (line,) = warnings(result)
    assert "2 files in data are not read, because of the ending: b.xyz, c.txt. Only files of Parquet" in line
    dry = cli("score", "data", "--scorer", "length", "--out", "out2", "--dry-run")
    assert "b.xyz, c.txt" in dry.out
    as_json = cli("score", "data", "--scorer", "length", "--out", "out3", "--json")
    assert "b.xyz, c.txt" in json.loads(as_json.out)["warnings"][0]
    lines("data/web/more.jsonl", 30, start=10)
    result = cli("describe", "data", "--neighbours", "2")
    assert result.code == 0, result.err
    assert "b.xyz, c.txt" in warnings(result)[0]


def test_hidden_data_is_named_and_the_records_of_other_programs_are_not(cli, folder):
    lines("data/_web/a.jsonl")
    lines("data/_temporary/0/a.jsonl")
    lines("data/.ipynb_checkpoints/a.jsonl")
    lines("data/_delta_log/0.jsonl")
    assert cli("score", "data", "--scorer", "length", "--out", "data/_scores").code == 0
    result = score(cli, "data")
    (line,) = warnings(result)
    assert '1 name in data is not read, because of the "_" in front: _web' in line
    assert scores() == ["web/a.jsonl.scores.parquet"]


@pytest.mark.parametrize("name", ["D.JSONL", "D.Jsonl.GZ", "D.PARQUET", "D.Arrow"])
def test_endings_in_capitals(cli, folder, name):
    Path("in").mkdir()
    kind = name.lower().partition(".")[2]
    frame = documents(5)
    if kind == "parquet":
        frame.write_parquet(Path("in", name))
    elif kind == "arrow":
        pyarrow.feather.write_feather(frame.to_arrow(compat_level=pl.CompatLevel.oldest()), f"in/{name}")
    else:
        Path("in/x.jsonl").write_text(frame.write_ndjson())
        if kind == "jsonl.gz":
            subprocess.run(["gzip", "in/x.jsonl"], check=True)
            Path("in/x.jsonl.gz").rename(Path("in", name))
        else:
            Path("in/x.jsonl").rename(Path("in", name))
    assert score(cli, "in").code == 0
    assert pl.read_parquet(f"out/{name}.scores.parquet")["id"].to_list() == frame["id"].to_list()
    result = cli(
        "prune", "out", "--by", "score.length", "--keep", 0.4, "--rule", "top", "--materialize", "--out", "kept"
    )
    assert result.code == 0, result.err


def test_linked_folders_are_read_once_and_circles_are_named(cli, folder):
    lines("store/code/b.jsonl", start=3)
    lines("store/code/deep/c.jsonl", start=6)
    Path("data/source=code").symlink_to("../store/code")
    Path("data/again").symlink_to("../store/code")
    Path("data/inner").symlink_to("../store/code/deep")
    Path("data/up").symlink_to("..")
    Path("data/web/self").symlink_to(".")
    Path("data/round").symlink_to("round")
    Path("data/broken.jsonl").symlink_to("nowhere.jsonl")
    Path("data/copy.jsonl").symlink_to("web/a.jsonl")
    result = score(cli, "data")
    assert result.code == 0, result.err
    # "again" comes first by name, and its folders are not read a second time.
    assert scores() == [f"{n}.scores.parquet" for n in ("again/b.jsonl", "again/deep/c.jsonl", "web/a.jsonl")]
    assert "2 links in data are not read, because the target does not exist: broken.jsonl, round" in result.err
    assert "or is a folder above: copy.jsonl, inner, source=code, up, web/self" in result.err


def test_a_source_is_named_after_the_link_and_not_after_where_it_leads(cli, folder):
    lines("store/blobs/123")
    Path("data/code").mkdir()
    Path("data/code/b.jsonl").symlink_to("../../store/blobs/123")
    assert score(cli, "data").code == 0
    assert pl.read_parquet("out/code/b.jsonl.scores.parquet")["source"].unique().to_list() == ["code"]


def test_a_folder_that_cannot_be_read_stops_the_job(cli, folder, monkeypatch):
    """The tests may run as root, for whom every folder is readable; so the call itself fails."""
    scandir = os.scandir

    def refused(path):
        if str(path).endswith("web"):
            raise PermissionError(EACCES, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(listing.os, "scandir", refused)
    result = score(cli, "data")
    assert result.code == 1
    assert "data/web cannot be read: Permission denied" in one_line(result)
    result = score(cli, "data/**/*.jsonl")
    assert result.code == 1
    assert "data/web cannot be read: Permission denied" in one_line(result)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root can become another user")
def test_permissions_as_another_user(folder):
    """The same with real permissions: root becomes nobody."""
    Path("data/secret").mkdir()
    lines("data/secret/b.jsonl")
    Path("data/secret").chmod(0)
    code = "import os, sys; os.setuid(65534); from curate.tables.shards import shards; shards([sys.argv[1]])"
    done = subprocess.run([sys.executable, "-c", code, "data"], capture_output=True, text=True)
    Path("data/secret").chmod(0o700)
    if "No module named" in done.stderr:
        pytest.skip("the tree is not readable for other users")
    # Where the folder of the test is closed to others, even its data cannot be listed.
    assert re.search(r"data(/secret)?'? cannot be read: Permission denied", done.stderr)


@pytest.mark.parametrize(
    "item, message",
    [
        ("nosuch", "there is no such file or folder"),
        ("nosuch/*.jsonl", "nothing matches"),
        ("data/*", r"end it with /\*\*"),
        ("empty", "the folder is empty"),
        ("other", r"none of its 2 files \(a.xyz, b.xyz\) has an ending"),
        ("other/a.xyz", "its ending is none of .parquet, .jsonl"),
        ("hidden", "names that start with _ are not read"),
        ("pipe.jsonl", "not a regular file"),
        ("broken.jsonl", "a link to a file that does not exist"),
        ("", "the name is empty"),
        ("a\0b", "null byte"),
        ("x" * 300, "too long"),
        ("gs://bucket/x", "only s3://"),
        ("data/*/../web/a.jsonl", r"'\.\.'"),
    ],
)
def test_an_item_without_input_files_is_one_line(folder, item, message):
    for name in ("empty", "other", "hidden/_x"):
        Path(name).mkdir(parents=True)
    for name in ("other/a.xyz", "other/b.xyz"):
        Path(name).write_text("x")
    os.mkfifo("pipe.jsonl")
    Path("broken.jsonl").symlink_to("nowhere")
    with pytest.raises(SchemaError, match=message) as caught:
        shards.shards([item])
    assert "\n" not in str(caught.value)


def test_overlapping_folders_are_read_once(cli, folder):
    lines("data/code/b.jsonl", start=3)
    result = score(cli, "data", "data/web", "data/code/b.jsonl", "data")
    assert result.code == 0
    assert scores() == ["code/b.jsonl.scores.parquet", "web/a.jsonl.scores.parquet"]
    (line,) = warnings(result)
    assert "data/web/a.jsonl is named twice. It is read once, as web/a.jsonl. The same holds for 1 more file" in line


def test_folders_of_one_name_are_warned_about(cli, folder):
    lines("data/old/web/b.jsonl", start=3)
    result = score(cli, "data")
    (line,) = warnings(result)
    assert "the rows of the folders data/old/web, data/web get the same source, 'web'" in line
    # A column that names the source, or a folder that does, says that it is meant.
    for name in ("one/source=web", "two/source=web"):
        lines(f"hive/{name}/{name[:3]}.jsonl")
    assert not warnings(score(cli, "hive", out="out2"))
    for name in ("one/web", "two/web"):
        Path("named", name).mkdir(parents=True)
        documents(2).with_columns(source=pl.lit("x")).write_parquet(Path("named", name, "a.parquet"))
    assert not warnings(score(cli, "named", out="out3"))


def test_long_names_and_names_that_are_no_text_are_set_aside(cli, folder):
    lines(f"data/{LONG}", start=3)
    fits = "y" * 224 + ".jsonl"
    lines(f"data/{fits}", start=6)
    with open(b"data/n\xff.jsonl", "wb") as file:
        file.write(b'{"id":"n","text":"abc"}\n')
    result = score(cli, "data")
    assert result.code == 1
    assert scores() == ["web/a.jsonl.scores.parquet", f"{fits}.scores.parquet"]
    assert "2 of 4 files were set aside" in result.err
    assert r"data/n\xff.jsonl: the name is not UTF-8" in result.err
    record = json.loads(cli("score", "data", "--scorer", "length", "--out", "out", "--json").out)
    assert sorted(record["quarantined"]) == [r"n\xff.jsonl", LONG]
    assert "237 bytes, more than 230" in record["quarantined"][LONG]
    states = json.loads(cli("status", "out", "--json").out)
    assert sum(row["state"] == "quarantined" for row in states["shards"]) == 2
    result = cli("score", "data", "--scorer", "length", "--out", "out2", "--on-error", "fail")
    assert result.code == 1
    assert one_line(result)
    # The jobs after it work with what was scored.
    result = cli(
        "prune", "out", "--by", "score.length", "--keep", 0.5, "--rule", "top", "--materialize", "--out", "kept"
    )
    assert result.code == 0, result.err


@pytest.mark.parametrize("out", ["data", "data/scores", "data/web", "link", "link/deep", "data/../data/x"])
def test_outputs_do_not_go_among_inputs(cli, folder, out):
    Path("link").symlink_to("data")
    before, times = tree(Path("data")), changes(Path("data"))
    result = score(cli, "data", out=out)
    assert result.code == 1
    assert "the input data" in one_line(result)
    assert cli("score", "data", "--scorer", "length", "--out", out, "--dry-run").code == 1
    # No lock either, not even for a moment.
    assert (tree(Path("data")), changes(Path("data"))) == (before, times)


@pytest.mark.parametrize("data, out", [("data", "data/_scores"), ("data/*/*.jsonl", "data"), ("data/web", "data")])
def test_outputs_beside_inputs_that_are_not_listed_again_are_fine(cli, folder, data, out):
    assert score(cli, data, out=out).code == 0
    assert cli("score", data, "--scorer", "length", "--out", out).out.startswith("0 rows scored now")


def test_decisions_and_training_sets_do_not_go_among_inputs_either(cli, folder):
    assert score(cli, "data").code == 0
    for out in ("out", "data", "data/kept"):
        result = cli("prune", "out", "--by", "score.length", "--keep", 0.5, "--rule", "top", "--out", out)
        assert result.code == 1
        assert f"--out {out} " in one_line(result)
    assert cli("pools", "out", "--out", "pools.json").code == 0
    result = cli("materialize", "pools.json", "--out", "data/web")
    assert result.code == 1
    assert "--out data/web lies in data" in one_line(result)


def test_records_behind_a_link_are_refused(cli, folder):
    Path("elsewhere").mkdir()
    Path("out").mkdir()
    Path("out/_curate").symlink_to("../elsewhere")
    assert score(cli, "data", out="scores").code == 0
    assert cli("pools", "scores", "--out", "pools.json").code == 0
    times = changes(Path("elsewhere"))
    for words in (
        ("score", "data", "--scorer", "length"),
        ("prune", "scores", "--by", "score.length", "--keep", 0.5, "--rule", "top"),
        ("materialize", "pools.json"),
    ):
        output = cli(*words, "--out", "out")
        assert output.code == 1
        assert "out/_curate is a link to" in one_line(output)
        assert changes(Path("elsewhere")) == times  # no lock either, not even for a moment


def test_a_file_as_output_folder_is_one_line(cli, folder):
    Path("file").write_text("x")
    result = score(cli, "data", out="file")
    assert "--out file is not a folder" in one_line(result)


def test_what_hugging_face_writes_beside_its_arrow_files_is_no_data(folder):
    Path("set").mkdir()
    documents(3).write_ipc("set/data-00000-of-00001.arrow")
    Path("set/dataset_info.json").write_text("{}")
    Path("set/state.json").write_text('{"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}')
    listed = inputs(["set"])
    assert [shard.relative for shard in listed.shards] == ["data-00000-of-00001.arrow"]
    assert listed.warnings == ()


@pytest.mark.parametrize(
    "names, text",
    [
        ([], ""),
        (["a"], "a"),
        (list("abcdefghi"), "a, b, c, d, e, f, g, h, i"),
        (list("abcdefghij"), "a, b, c, d, e, f, g, h and 2 more"),
        (range(2000), "0, 1, 2, 3, 4, 5, 6, 7 and 1,992 more"),
    ],
)
def test_the_first_few_of_many_names(names, text):
    assert first_few(names) == text


def test_of_a_long_list_the_names_most_like_a_misspelled_one_come_first():
    names = [f"pool{i:04d}" for i in range(2000)] + ["webster"]
    assert first_few(names, near="webstre").startswith("webster, pool0000, ")


def test_messages_do_not_list_two_thousand_pools(cli, folder):
    pools = [{"name": f"pool{i:04d}", "tokens": 1e6, "where": ["data"]} for i in range(2000)]
    pools.append({"name": "webster", "tokens": 1e6, "where": ["data"]})
    Path("pools.json").write_text(json.dumps({"pools": pools}))
    words = ["schedule", "pools.json", "--method", "two-stage", "--tokens", 1e6, "--out", "s.json"]
    result = cli(*words, "--main", "uniform", "--anneal", "webstre=1")
    line = one_line(result)
    assert "the pools are webster, pool0000" in line
    assert "1,993 more" in line
    assert len(line) < 400


@pytest.mark.parametrize(
    "values",
    [["x"] * 4, [b"x"] * 4, [{"bytes": b"x", "path": "y"}] * 4, [[1.0]] * 4, [True] * 4],
    ids=["text", "bytes", "image", "list", "truth"],
)
def test_a_column_that_holds_no_numbers_is_no_score_even_in_a_later_file(cli, folder, values):
    lines("data/web/b.jsonl", 4, start=3)
    assert score(cli, "data").code == 0
    path = Path("out/web/b.jsonl.scores.parquet")
    pl.read_parquet(path).with_columns(pl.Series("score.length", values)).write_parquet(path)
    for words in (
        ("prune", "out", "--by", "score.length", "--keep", 0.5, "--rule", "middle", "--out", "kept"),
        ("pools", "out", "--by", "score.length", "--out", "pools.json"),
    ):
        result = cli(*words)
        line = one_line(result)
        assert "--by score.length: out/web/b.jsonl.scores.parquet has it as " in line
        assert "Name a column such as score.length" in line


def test_a_report_shows_rows_without_text(cli, folder):
    rows = [{"id": "a", "text": None}, {"id": "b", "text": "abc", "source": None}, {"id": None, "text": ""}]
    Path("data/web/a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert score(cli, "data", out="all/scores").code == 0
    assert cli("report", "all", "--out", "r.html").code == 0
    assert "(no text)" in Path("r.html").read_text()


def test_files_that_vanish_are_one_line_each(cli, folder):
    lines("data/web/b.jsonl", 4, start=3)
    assert score(cli, "data").code == 0
    prune = ("prune", "out", "--by", "score.length", "--keep", 0.5, "--rule", "top", "--out", "kept")
    assert cli(*prune).code == 0
    assert cli("pools", "out", "--out", "pools.json").code == 0
    Path("data/web/b.jsonl").rename("b.jsonl")
    for words in ((*prune, "--materialize"), ("materialize", "pools.json", "--out", "set"), ("pools", "out")):
        result = cli(*words) if words[0] != "pools" else cli(*words, "--kept", "kept", "--out", "p.json")
        if result.code:
            assert "b.jsonl" in one_line(result)
    assert cli("status", "out").code == 0
    Path("data/web/a.jsonl").unlink()
    for words in ((*prune, "--materialize"), ("materialize", "pools.json", "--out", "set"), ("status", "out")):
        assert "data" in one_line(cli(*words))
    Path("data/web").rmdir()
    Path("data").rmdir()
    assert "there is no such file or folder" in one_line(cli("status", "out"))


def test_a_json_file_that_is_one_object_is_metadata(cli, folder):
    documents(4).write_parquet("data/b.parquet")
    Path("data/config.json").write_text(json.dumps({"text": {"a": 1}}, indent=2))
    Path("data/dataset_infos.json").write_text(json.dumps({"default": {"splits": {}}}))
    output = score(cli, "data")
    assert output.code == 0
    (line,) = warnings(output)
    assert "2 files in data are not read, because a .json file that is one object is metadata" in line
    assert "config.json, dataset_infos.json" in line
    assert scores() == ["b.parquet.scores.parquet", "web/a.jsonl.scores.parquet"]


def test_a_json_file_with_one_row_is_data_beside_files_with_the_same_keys(cli, folder):
    lines("parts/part-0.json")
    lines("parts/part-1.json", rows=1)
    Path("parts/part-2.json").touch()
    Path("parts/info.json").write_text('{"rows": 4}')
    output = score(cli, "parts")
    assert output.code == 0
    assert "1 file in parts is not read" in warnings(output)[0]
    assert scores() == [f"part-{i}.json.scores.parquet" for i in range(3)]
    lines("alone/part-0.json", rows=1)
    assert score(cli, "alone", out="out2").code == 0
    assert scores("out2") == ["part-0.json.scores.parquet"]


@pytest.mark.parametrize("name", ["objects", "objects/*.json", "objects/a.json"])
def test_objects_over_several_lines_alone_are_one_line_that_says_how_to_write_rows(cli, folder, name):
    Path("objects").mkdir()
    Path("objects/a.json").write_text(json.dumps({"text": "a"}, indent=2))
    output = score(cli, name)
    assert output.code == 1
    assert "a.json" in one_line(output)
    assert "one JSON object over several lines" in output.err
    assert "object on one line, or all rows as an array" in output.err


def test_damaged_or_large_json_files_count_as_data(folder):
    Path("data/cut.json").write_text('{\n "a": 1,\n')
    Path("data/array.json").write_text('[{"a": 1}]')
    Path("data/first_line_is_bad.json").write_text('{"text"\n{"text": "a"}\n')
    assert [shard.relative for shard in inputs(["data"]).shards] == [
        "array.json",
        "cut.json",
        "first_line_is_bad.json",
        "web/a.jsonl",
    ]
