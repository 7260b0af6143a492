"""Kept rows are one data set: of one format and schema, with a card, and with the same bytes however they are made."""

import decimal
import gzip
import json
import shlex

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.ipc
import pyarrow.parquet as pq
import pytest

from curate.engines.local import Local
from curate.errors import SchemaError
from curate.pruning import prune
from curate.pruning.kept_rows import writing
from curate.pruning.kept_rows.job import write_kept
from curate.scoring import score
from curate.tables import cutting


def kept_from(tmp_path, *, keep=0.6, **options):
    """Score and prune what lies in ``data``; return the folder of the kept rows."""
    score.score([str(tmp_path / "data")], ["length"], tmp_path / "scores", on_error="fail", restart=True)
    prune.prune(tmp_path / "scores", tmp_path / "kept", by="score.length", keep=keep, materialize=True, **options)
    return tmp_path / "kept" / "rows"


def tree(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def words(count):
    return pl.DataFrame({"text": ["w" * i for i in range(1, count + 1)]})


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz", ".jsonl.zst"])
def test_lines_of_json_keep_their_bytes_and_packing(tmp_path, suffix):
    lines = [f'{{"text":  "{"x" * i}", "n": {i}.0}}\r\n'.encode() for i in range(25)]
    (tmp_path / "data").mkdir()
    with pa.output_stream(
        str(tmp_path / "data" / f"a{suffix}"), compression={".gz": "gzip", ".zst": "zstd"}.get(suffix[-4:].lstrip("l"))
    ) as stream:
        stream.write(b"".join(lines))
    folder = kept_from(tmp_path, shard_rows=4)
    parts = sorted((folder / "data").iterdir())
    assert [path.name for path in parts] == [f"rows-{i:05d}{suffix}" for i in range(4)]
    back = []
    for path in parts:
        with pa.input_stream(str(path), compression="detect") as stream:
            back.append(stream.read().splitlines(keepends=True))
    assert [len(part) for part in back] == [4, 4, 4, 3]
    assert [line for part in back for line in part] == lines[10:]


def test_json_of_all_kinds_becomes_lines(tmp_path):
    """An array over several lines, lines that end with a carriage return, and a mark at the start of a file."""
    (tmp_path / "data").mkdir()
    rows = [{"text": "a" * 9 + "\n", "n": 1}, {"text": "b" * 9, "n": 2}]
    (tmp_path / "data" / "a.json").write_text(json.dumps(rows, indent=2))
    (tmp_path / "data" / "b.jsonl").write_bytes(b'{"text": "ccccccccc"}\r{"text": "ddddddddd"}\r')
    (tmp_path / "data" / "c.jsonl.gz").write_bytes(gzip.compress(b'\xef\xbb\xbf{"text": "eeeeeeeee"}'))
    folder = kept_from(tmp_path, keep=1)
    (path,) = (folder / "data").iterdir()
    assert path.name == "rows-00000.jsonl"
    back = [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]
    assert back == [*rows, *({"text": letter * 9} for letter in "cde")]


def test_a_table_keeps_its_schema_and_order(tmp_path):
    frame = words(25).with_columns(label=pl.int_range(25), extra=pl.int_range(25) / 2)
    (tmp_path / "data" / "source=web").mkdir(parents=True)
    frame.write_parquet(tmp_path / "data" / "source=web" / "a.parquet")
    folder = kept_from(tmp_path, shard_rows=4)
    parts = sorted((folder / "data").iterdir())
    assert [path.name for path in parts] == [f"source=web-{i:05d}.parquet" for i in range(4)]
    assert pl.concat(map(pl.read_parquet, parts)).equals(frame.tail(15))
    assert pq.read_schema(parts[0]).equals(pq.read_schema(tmp_path / "data" / "source=web" / "a.parquet"))


ENCODED = pa.array(["a", "b", "b", None, "e"])
COLUMNS = {
    "string_view": pa.array(["a", "b" * 40, None, "d", "e"], pa.string_view()),
    "binary_view": pa.array([b"a", b"b" * 40, None, b"d", b"e"], pa.binary_view()),
    "list_view": pa.array([[1], [2, 3], None, [], [5]], pa.list_view(pa.int32())),
    "dictionary": ENCODED.dictionary_encode(),
    "dictionary_of_views": pa.DictionaryArray.from_arrays(
        pa.array([0, 1, None, 1, 0]), pa.array(["a", "b" * 40], pa.string_view())
    ),
    "run_ends": pc.run_end_encode(ENCODED),
    "struct_of_views": pa.array([{"x": str(i)} for i in range(5)], pa.struct([("x", pa.string_view())])),
    "lists_of_views": pa.array([["a"], [], None, ["b"], ["c"]], pa.list_(pa.string_view())),
    "timestamp": pa.array(range(0, 5000, 1000), pa.timestamp("ns", "Asia/Kolkata")),
    "decimal": pa.array([decimal.Decimal(i) for i in range(5)], pa.decimal128(30, 4)),
    "duration": pa.array(range(5), pa.duration("us")),
    "half": pa.array([0.5, None, 1.5, 2.5, 3.5], pa.float16()),
    "fixed": pa.array([[1, 2], None, [3, 4], None, [5, 6]], pa.list_(pa.int8(), 2)),
    "null": pa.nulls(5),
}


@pytest.mark.parametrize("kind", COLUMNS)
@pytest.mark.parametrize("suffix", [".parquet", ".arrow", ".arrows"])
def test_every_type_of_column_keeps_its_values(tmp_path, kind, suffix):
    table = pa.table({"text": ["w" * i for i in range(5)], "extra": COLUMNS[kind]})
    (tmp_path / "data").mkdir()
    path = tmp_path / "data" / f"a{suffix}"
    if suffix == ".parquet":
        if kind in ("run_ends", "dictionary_of_views"):
            pytest.skip("Parquet has no such columns")
        pq.write_table(table, path)
    else:
        make = pa.ipc.new_file if suffix == ".arrow" else pa.ipc.new_stream
        with pa.OSFile(str(path), "wb") as sink, make(sink, table.schema) as writer:
            writer.write_table(table)
    folder = kept_from(tmp_path)
    (part,) = (folder / "data").iterdir()
    assert pq.read_table(part)["extra"].to_pylist() == table["extra"].to_pylist()[2:]


def test_rows_in_any_pattern_are_kept_in_order():
    views = pa.record_batch({"x": pa.array([str(i) for i in range(70)], pa.string_view())})
    for pattern in (range(0), range(70), range(0, 70, 2), (0, 1, 5, 68, 69), (69,)):
        mask = pa.array([i in pattern for i in range(70)])
        assert cutting.kept(views, mask).column(0).to_pylist() == [str(i) for i in pattern]


def test_many_small_inputs_share_files_and_keep_to_their_folder(tmp_path):
    for folder in ("a", "a--b", "a/b", "日本 語"):
        (tmp_path / "data" / folder).mkdir(parents=True)
        for i in range(5):
            words(3).write_parquet(tmp_path / "data" / folder / f"{i}.parquet")
    words(25).write_parquet(tmp_path / "data" / "large.parquet")
    folder = kept_from(tmp_path, keep=1, shard_rows=10)
    rows = {path.stem: pq.read_metadata(path).num_rows for path in sorted((folder / "data").iterdir())}
    # Three inputs of three rows fill a file of ten best. The names of a/b and a--b are alike, and their numbers go on.
    assert rows == {
        **{"a-00000": 9, "a-00001": 6, "a--b-00000": 9, "a--b-00001": 6, "a--b-00002": 9, "a--b-00003": 6},
        **{"rows-00000": 10, "rows-00001": 10, "rows-00002": 5, "日本_語-00000": 9, "日本_語-00001": 6},
    }


def test_workers_and_an_earlier_call_change_no_byte(tmp_path, monkeypatch):
    for name in "abc":
        (tmp_path / "data" / name).mkdir(parents=True)
        words(40).write_parquet(tmp_path / "data" / name / "x.parquet")
        words(40).with_columns(n=1).write_ipc(
            tmp_path / "data" / name / "y.arrow", compat_level=pl.CompatLevel.oldest()
        )
    folder = kept_from(tmp_path, shard_rows=30)
    want = tree(folder)
    # One engine of two processes, after a call that left more and other files.
    kept_from(tmp_path, keep=0.9, shard_rows=5)
    assert tree(folder) != want
    assert tree(kept_from(tmp_path, shard_rows=30, engine=Local(2))) == want

    # A call that stops half way leaves no card; the same call then ends with the same bytes.
    def stops(group):
        if group.first:
            raise KeyboardInterrupt
        return write_group(group)

    write_group = writing.write_group
    monkeypatch.setattr("curate.pruning.kept_rows.job.write_group", stops)
    with pytest.raises(KeyboardInterrupt):
        kept_from(tmp_path, keep=0.9, shard_rows=5)
    assert not (folder / "README.md").exists()
    monkeypatch.undo()
    assert tree(kept_from(tmp_path, shard_rows=30)) == want


def test_the_columns_of_the_card_come_in_the_order_of_the_rows(tmp_path, monkeypatch):
    """Whatever group of rows is written first."""
    for i, name in enumerate("abc"):
        (tmp_path / "data" / name).mkdir(parents=True)
        words(9).with_columns(pl.lit(1).alias(f"n{i}")).write_ndjson(tmp_path / "data" / name / "x.jsonl")
    want = tree(kept_from(tmp_path))
    run = Local.run
    monkeypatch.setattr(Local, "run", lambda engine, function, tasks: reversed(list(run(engine, function, tasks))))
    prune.prune(tmp_path / "scores", tmp_path / "kept", by="score.length", keep=0.6, materialize=True)
    assert tree(tmp_path / "kept" / "rows") == want


def test_files_that_loaders_would_read_with_the_rows_are_refused(tmp_path):
    (tmp_path / "data").mkdir()
    words(9).write_parquet(tmp_path / "data" / "a.parquet")
    folder = kept_from(tmp_path)
    words(9).write_parquet(folder / "data" / "mine.parquet")
    with pytest.raises(SchemaError, match=r"mine\.parquet was not written by `curate prune`.* Move it away"):
        kept_from(tmp_path)


def test_inputs_of_two_formats_are_refused_before_anything_is_decided(tmp_path):
    (tmp_path / "data").mkdir()
    words(9).write_parquet(tmp_path / "data" / "a.parquet")
    words(9).write_ndjson(tmp_path / "data" / "b.jsonl")
    with pytest.raises(SchemaError, match=r"1 are JSON, such as b\.jsonl, and 1 are not, such as a\.parquet.*--format"):
        kept_from(tmp_path)
    assert not (tmp_path / "kept").exists()
    with pytest.raises(SchemaError, match="--format xml is none of parquet, jsonl"):
        kept_from(tmp_path, format_name="xml")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([["x"], [1]], r"b\.parquet: n is int64, and in .*a\.parquet it is large_string"),
        ([[True], [1]], r"b\.parquet: n is int64, and in .*a\.parquet it is bool"),
        ([[{"k": 1}], [{"k": "x"}]], r"b\.parquet: n is struct<k: large_string>, and in .* it is struct<k: int64>"),
        ([[2**60 + 1], [0.5]], r"a\.parquet: n is int64, and double in other files\. A value does not fit"),
    ],
)
def test_columns_that_do_not_go_together_are_one_line(tmp_path, values, message):
    (tmp_path / "data").mkdir()
    for name, value in zip("ab", values, strict=True):
        pl.DataFrame({"text": ["some words"], "n": value}).write_parquet(tmp_path / "data" / f"{name}.parquet")
    with pytest.raises(SchemaError, match=message) as caught:
        kept_from(tmp_path, keep=1)
    assert "\n" not in str(caught.value)


def test_text_of_csv_takes_the_type_of_other_files(tmp_path):
    (tmp_path / "data").mkdir()
    pl.DataFrame({"text": ["some words"], "n": [1]}).write_parquet(tmp_path / "data" / "a.parquet")
    (tmp_path / "data" / "b.csv").write_text("text,n\nother words,2\n")
    folder = kept_from(tmp_path, keep=1)
    (path,) = (folder / "data").iterdir()
    assert pl.read_parquet(path)["n"].to_list() == [1, 2]
    (tmp_path / "data" / "b.csv").write_text("text,n\nother words,two\n")
    with pytest.raises(SchemaError, match=r"b\.csv: n is large_string, and int64 in other files.*'two'"):
        kept_from(tmp_path, keep=1)


def test_json_of_mixed_types_cannot_become_parquet(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.jsonl").write_text('{"text": "some words", "n": 1}\n{"text": "others", "n": "x"}\n')
    with pytest.raises(SchemaError, match=r"a\.jsonl: the values of n are of several types.*--format jsonl"):
        kept_from(tmp_path, keep=1, format_name="parquet")


def test_bytes_cannot_become_json(tmp_path):
    (tmp_path / "data").mkdir()
    pl.DataFrame({"text": ["some words"], "n": [b"x"]}).write_parquet(tmp_path / "data" / "a.parquet")
    with pytest.raises(SchemaError, match=r"a\.parquet: n is large_binary, which JSON cannot hold.*--format parquet"):
        kept_from(tmp_path, keep=1, format_name="jsonl")


def test_the_card_has_sizes_sources_removal_and_the_command(tmp_path):
    for name in ("web", "books | old"):
        (tmp_path / "data" / name).mkdir(parents=True)
        words(10).write_parquet(tmp_path / "data" / name / "a.parquet")
    card = (kept_from(tmp_path) / "README.md").read_text()
    assert 'path: "data/*.parquet"' in card
    assert "| train | 12 | 28 |" in card
    assert "| books \\| old | 6 | 14 |" in card
    assert "| web | top: score.length | 4 | 4 |" in card
    assert f"curate prune {tmp_path}/scores --by score.length --keep 0.6 --materialize --out OUT" in card


def test_the_command_materializes(tmp_path):
    from pipelines import prune as job

    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.jsonl").write_text("".join(json.dumps({"text": "w" * i}) + "\n" for i in range(1, 11)))
    score.score([str(tmp_path / "data")], ["length"], tmp_path / "scores")
    job.main(tmp_path / "scores", by="score.length", keep=0.5, out=tmp_path / "kept", materialize=True)
    lines = (tmp_path / "kept" / "rows" / "data" / "rows-00000.jsonl").read_text().splitlines()
    assert [len(json.loads(line)["text"]) for line in lines] == [6, 7, 8, 9, 10]


def test_the_decisions_alone_can_be_written(tmp_path):
    (tmp_path / "data").mkdir()
    words(10).write_parquet(tmp_path / "data" / "a.parquet")
    score.score([str(tmp_path / "data")], ["length"], tmp_path / "scores")
    prune.prune(tmp_path / "scores", tmp_path / "kept", by="score.length", keep=0.5)
    assert write_kept(tmp_path / "scores", tmp_path / "kept") == 5
    with pytest.raises(SchemaError, match="--shard-rows 0 must be at least 1"):
        write_kept(tmp_path / "scores", tmp_path / "kept", shard_rows=0)


@pytest.mark.parametrize(
    "options",
    [
        ("--by", "score.length", "--rule", "threshold", "--keep", 0, "--cap", "source=3"),
        ("--by", "score.length", "--keep-tokens", "20", "--max-source-removal", 1, "--require", "text LIKE 'w%'"),
        ("--by", "score.length", "--rule", "hard", "--keep-rows", 5, "--meaning", "length=hardness", "--trim", "0.1"),
        ("--by", "score.length", "--keep", 0.6, "--balance", "source:0", "--max-source-removal", 0.99),
    ],
)
def test_the_command_of_the_card_writes_the_same_rows(tmp_path, cli, options):
    for name, count in (("source=a", 12), ("source=b", 4)):
        (tmp_path / "data" / name).mkdir(parents=True)
        words(count).write_parquet(tmp_path / "data" / name / "x.parquet")
    score.score([str(tmp_path / "data")], ["length"], tmp_path / "scores")
    done = cli("prune", tmp_path / "scores", *options, "--materialize", "--out", tmp_path / "kept")
    assert done.code == 0, done.err
    card = (tmp_path / "kept" / "rows" / "README.md").read_text()
    (command,) = (line.strip() for line in card.splitlines() if line.strip().startswith("curate prune"))
    again = cli(*shlex.split(command)[1:-1], tmp_path / "again")
    assert again.code == 0, again.err
    assert tree(tmp_path / "again" / "rows") == tree(tmp_path / "kept" / "rows")
