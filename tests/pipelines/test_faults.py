"""Bad files, bad moments: nothing loses a row, nothing is half done, and everything says why."""

import gzip
import json
import os
import re
import resource
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq
import pytest
from conftest import console, documents, tree

from curate.engines.local import Local
from curate.errors import CurateError, Interrupted, SchemaError
from curate.scoring import parts, preflight, run, score, worker
from curate.scoring.reports import status
from curate.storage import files
from curate.tables import batches as tables
from curate.tables import readers, reading
from curate.tables.batches import Reading, Shard, batches

MB = 1 << 20
ROOT = Path(__file__).parents[2]


def packed_text(frame, suffix):
    """The rows as JSON lines, CSV or TSV, packed as the ending says."""
    kind, _, packing = suffix[1:].partition(".")
    if kind in ("csv", "tsv"):
        body = frame.write_csv(separator="," if kind == "csv" else "\t").encode()
    else:
        body = frame.write_ndjson().encode()
    return {"": bytes, "gz": gzip.compress, "zst": lambda x: pa.compress(x, codec="zstd", asbytes=True)}[packing](body)


def flip(path, start=0.3, stop=0.5):
    raw = bytearray(path.read_bytes())
    a, b = int(len(raw) * start), int(len(raw) * stop)
    raw[a:b] = os.urandom(b - a)
    path.write_bytes(raw)


def truncated(path):
    path.write_bytes(path.read_bytes()[:-100])


def bad_utf8(path):
    buffers = pa.array([b"fine", b"\xff\xfe", b"fine too"]).buffers()
    pq.write_table(pa.table({"text": pa.Array.from_buffers(pa.string(), 3, buffers)}), path)


def no_text(path):
    pl.DataFrame({"id": ["a"], "body": ["x"]}).write_parquet(path)


def nothing(path):
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [flip, truncated, bad_utf8, no_text, nothing])
def test_a_bad_file_is_set_aside_and_the_rest_is_done(cli, corpus, tmp_path, damage):
    victim, out = corpus / "source=a" / "2.parquet", tmp_path / "out"
    whole = victim.read_bytes()
    damage(victim)
    job = ["score", corpus, "--scorer", "length", "--scorer", "compression", "--out", out]
    result = cli(*job)
    assert result.code == 1
    assert "1 of 5 files was set aside" in result.err.splitlines()[-1]
    assert "2.parquet" in result.err.splitlines()[-1]
    assert "80 rows scored" in result.out
    (row,) = [row for row in status.status(out) if row["state"] == "quarantined"]
    assert row["shard"] == "source=a/2.parquet"
    assert "2.parquet" in row["why"]
    assert "set aside" in cli("status", out).out
    assert not (out / "source=a" / "2.parquet.scores.parquet").exists()
    with pytest.raises(SchemaError, match=r"2\.parquet"):
        score.score([str(corpus)], ("length", "compression"), out, on_error="fail")
    victim.write_bytes(whole)
    result = cli(*job)
    assert (result.code, "20 rows scored" in result.out) == (0, True)
    score.score([str(corpus)], ("length", "compression"), tmp_path / "calm")
    assert {n: b for n, b in tree(out).items() if n.endswith(".parquet")} == {
        n: b for n, b in tree(tmp_path / "calm").items() if n.endswith(".parquet")
    }
    assert {row["state"] for row in status.status(out)} == {"done"}


def embedded(path, rows, width, start=0):
    vectors = np.random.default_rng(start).normal(size=(rows, width)).astype(np.float32)
    documents(rows, start).with_columns(pl.Series("emb.e", vectors, dtype=pl.Array(pl.Float32, width))).write_parquet(
        path
    )


@pytest.mark.parametrize("bad", ["nan", "inf", "width"])
def test_bad_vectors_are_set_aside_and_learned_scorers_learn_from_the_rest(tmp_path, bad):
    data, out = tmp_path / "data", tmp_path / "out"
    data.mkdir()
    for i in range(3):
        embedded(data / f"{i}.parquet", 30, 8, 30 * i)
    whole = (data / "1.parquet").read_bytes()
    if bad == "width":
        embedded(data / "1.parquet", 30, 6, 30)
    else:
        frame = pl.read_parquet(data / "1.parquet")
        vectors = frame["emb.e"].to_numpy().copy()
        vectors[7, 3] = float(bad)
        frame.with_columns(pl.Series("emb.e", vectors, dtype=pl.Array(pl.Float32, 8))).write_parquet(data / "1.parquet")
    spec = ("prototypes:k=2,embedding=emb.e",)
    first = score.score([str(data)], spec, out, on_error="quarantine")
    assert (first.rows, list(first.quarantined)) == (60, ["1.parquet"])
    assert "emb.e" in first.quarantined["1.parquet"]
    with pytest.raises(SchemaError, match=r"emb\.e"):
        score.score([str(data)], spec, tmp_path / "strict", on_error="fail")
    before = tree(out)
    (data / "1.parquet").write_bytes(whole)
    assert status.learned(out) == []
    second = score.score([str(data)], spec, out, on_error="quarantine")
    assert (second.rows, second.quarantined) == (30, {})
    assert all(tree(out)[name] == content for name, content in before.items() if name.endswith(".scores.parquet"))


def test_null_text_empty_groups_and_repeated_ids_lose_no_row(tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    frame = pl.DataFrame({"id": ["same"] * 6, "text": ["a", None, "", "b", None, "c"]})
    with pq.ParquetWriter(data / "x.parquet", frame.to_arrow().schema) as sink:
        for part in (frame[:0], frame[:2], frame[:0], frame[2:], frame[:0]):
            sink.write_table(part.to_arrow())
    assert score.score([str(data)], ("length", "repetition"), tmp_path / "out").rows == 6
    scores = pl.read_parquet(tmp_path / "out" / "x.parquet.scores.parquet")
    assert scores["score.length"].to_list() == [1, 0, 0, 1, 0, 1]


def test_repeated_ids_do_not_stop_a_scorer_that_learns(tmp_path):
    (tmp_path / "data").mkdir()
    for i in range(2):
        embedded(tmp_path / "data" / f"{i}.parquet", 30, 4)
    result = score.score([str(tmp_path / "data")], ("prototypes:k=2,sample=20,embedding=emb.e",), tmp_path / "out")
    assert result.rows == 60


@pytest.mark.parametrize("suffix", tables.FORMATS)
@pytest.mark.parametrize("packed", [True, False])
def test_a_document_larger_than_allowed_is_refused_before_it_fills_memory(tmp_path, suffix, packed):
    body = b"a" * (3 * MB) if packed else os.urandom(3 * MB // 2).hex().encode()
    frame = pl.DataFrame({"text": ["short", body.decode(), "short"]})
    path = tmp_path / f"x{suffix}"
    if suffix == ".parquet":
        frame.write_parquet(path)
    elif suffix in (".arrow", ".arrows", ".feather"):
        frame.write_ipc(path)
    else:
        path.write_bytes(packed_text(frame, suffix))
    shard = Shard(path, path.name)
    with pytest.raises(SchemaError, match=r"--max-document-mb"):
        list(batches(shard, ("text",), reading=Reading(document_bytes=MB)))
    assert sum(b.height for b in batches(shard, ("text",), reading=Reading(document_bytes=4 * MB))) == 3


@pytest.mark.parametrize("codec", ["zstd", "gzip"])
def test_a_line_that_never_ends_is_refused_in_bounded_memory(tmp_path, codec):
    bomb = tmp_path / {"zstd": "bomb.jsonl.zst", "gzip": "bomb.jsonl.gz"}[codec]
    body = b'{"text": "' + b"a" * (400 * MB) + b'"}'
    bomb.write_bytes(gzip.compress(body, 1) if codec == "gzip" else pa.compress(body, codec=codec, asbytes=True))
    assert bomb.stat().st_size < 2 * MB
    code = (
        "import sys\nfrom pathlib import Path\n"
        "from curate.tables import batches as tables\nfrom curate.errors import SchemaError\n"
        "import resource\nbefore = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "reading = tables.Reading(document_bytes=8 << 20)\n"
        "try: list(tables.batches(tables.Shard(Path(sys.argv[1]), 'x'), ('text',), reading=reading))\n"
        "except SchemaError: print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(bomb)], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 120, "MB"


def test_one_value_of_a_dictionary_does_not_become_thousands_in_memory(tmp_path):
    size, rows = 2_500_000, 300
    coded = pa.DictionaryArray.from_arrays(np.zeros(rows, np.int32), pa.array(["x" * size]))
    pq.write_table(pa.table({"text": coded}), tmp_path / "x.parquet", store_schema=False, compression="none")
    assert (tmp_path / "x.parquet").stat().st_size < 2 * size
    sizes = [b.num_rows for b in readers.read(Shard(tmp_path / "x.parquet", "x"), ["text"], 4096)]
    assert sum(sizes) == rows
    assert max(sizes) * size <= 2 * reading.PIECE_BYTES


def test_a_column_that_grows_beyond_reason_is_a_bomb(tmp_path):
    pq.write_table(
        pa.table({"text": ["a" * (40 * MB)] * 2}), tmp_path / "x.parquet", compression="zstd", use_dictionary=False
    )
    with pytest.raises(SchemaError, match="compression bomb"):
        next(readers.read(Shard(tmp_path / "x.parquet", "x"), ["text"], 10))


@pytest.mark.parametrize("change", ["delete", "rewrite"])
def test_a_file_that_changes_while_it_is_read_is_not_scored_as_if_it_had_not(corpus, tmp_path, monkeypatch, change):
    victim, out, whole = corpus / "source=b" / "3.parquet", tmp_path / "out", worker.apply

    def meddles(scorers, batch):
        if "d60" in batch["id"]:
            victim.unlink()
            if change == "rewrite":
                documents(20, 700).write_parquet(victim)
        return whole(scorers, batch)

    monkeypatch.setattr(worker, "apply", meddles)
    result = score.score([str(corpus)], ("length",), out, on_error="quarantine")
    assert result.rows == 80
    assert list(result.quarantined) == ["source=b/3.parquet"]
    assert not (out / "source=b" / "3.parquet.scores.parquet").exists()
    monkeypatch.undo()
    if change == "rewrite":
        assert score.score([str(corpus)], ("length",), out).rows == 20
    assert {row["state"] for row in status.status(out)} == {"done"}


def test_a_rewrite_with_the_old_time_is_seen(corpus, tmp_path):
    path = corpus / "source=a" / "0.parquet"
    stat, size = path.stat(), path.stat().st_size
    score.score([str(corpus)], ("length",), tmp_path / "out")
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert path.stat().st_size == size
    with pytest.raises(Interrupted, match="changed"):
        score.score([str(corpus)], ("length",), tmp_path / "out")


@pytest.mark.parametrize("year", [1, 4e9])
def test_a_clock_that_jumps_changes_nothing(corpus, tmp_path, year):
    for path in corpus.rglob("*.parquet"):
        os.utime(path, (year, year))
    score.score([str(corpus)], ("length",), tmp_path / "out")
    for path in [*corpus.rglob("*.parquet"), *(tmp_path / "out").rglob("*.json")]:
        os.utime(path, (4e9 - year, 4e9 - year))
    assert score.score([str(corpus)], ("length",), tmp_path / "out").rows == 0
    assert {row["state"] for row in status.status(tmp_path / "out")} == {"done"}


def test_a_full_disk_ends_the_job_with_one_line_and_it_continues(tmp_path):
    """The limit on the size of a file gives the same kind of error as a full disk, also to root."""
    data, out = tmp_path / "data", tmp_path / "out"
    data.mkdir()
    for i, rows in enumerate((20, 4000)):
        documents(rows).write_parquet(data / f"{i}.parquet")
    command = [*console("score", data, "--scorer", "length", "--scorer", "compression", "--out", out)]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (12_000, 12_000)),
    )
    assert done.returncode == 1
    assert "cannot write" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert not list(out.rglob("*.tmp"))
    # Small files are written together.
    assert [row["state"] for row in status.status(out)] == ["to do", "to do"]
    assert subprocess.run(command, capture_output=True).returncode == 0
    assert {row["state"] for row in status.status(out)} == {"done"}


def test_an_output_that_cannot_be_written_is_named(cli, corpus, tmp_path):
    (tmp_path / "file").write_text("")
    result = cli("score", corpus, "--scorer", "length", "--out", tmp_path / "file" / "out")
    assert result.code == 1
    assert "cannot write" in result.err
    assert len(result.err.splitlines()) == 1


def test_names_from_data_do_not_leave_the_output_folder(corpus, tmp_path):
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    out.mkdir()
    elsewhere.mkdir()
    (out / "source=a").symlink_to(elsewhere)
    with pytest.raises(SchemaError, match="leads out of"):
        score.score([str(corpus)], ("length",), out)
    assert list(elsewhere.iterdir()) == []
    for name in ("../x", "/etc/x", "a/../../x", ".."):
        with pytest.raises(SchemaError, match="leads out of"):
            files.inside(tmp_path / "out", name)
    with pytest.raises(SchemaError, match=r"'\.\.'"):
        tables.shards([f"{corpus}/*/../../data/source=a/*.parquet"])


@pytest.mark.parametrize(
    "name", ["-x.parquet", "a b\n.parquet", "ü𝄞.parquet", "%2e%2e.parquet", "[1].parquet", "x" * 200 + ".parquet"]
)
def test_odd_names_are_names(tmp_path, name):
    (tmp_path / "data").mkdir()
    documents(3).write_parquet(tmp_path / "x")
    (tmp_path / "x").rename(tmp_path / "data" / name)
    assert score.score([str(tmp_path / "data")], ("length",), tmp_path / "out").rows == 3
    assert (tmp_path / "out" / f"{name}.scores.parquet").is_file()
    assert score.score([str(tmp_path / "data")], ("length",), tmp_path / "out").rows == 0


@pytest.fixture
def small_parts(monkeypatch):
    monkeypatch.setattr(parts, "PART_ROWS", 100)
    monkeypatch.setattr(parts, "TASK_ROWS", 250)
    monkeypatch.setattr(parts, "SMALL_BYTES", 0)


@pytest.mark.parametrize("suffix", tables.FORMATS)
def test_a_long_file_continues_inside_to_the_same_bytes(tmp_path, small_parts, monkeypatch, suffix):
    data, out, calm = tmp_path / "data", tmp_path / "out", tmp_path / "calm"
    data.mkdir()
    frame = documents(1000)
    if suffix == ".parquet":
        frame.write_parquet(data / "x.parquet", row_group_size=130)
    elif suffix in (".arrow", ".arrows", ".feather"):
        frame.write_ipc(data / f"x{suffix}", record_batch_size=130, compression="uncompressed")
    else:
        (data / f"x{suffix}").write_bytes(packed_text(frame, suffix))
    arguments = dict(scorers=("length", "compression"), batch_rows=32)
    score.score([str(data)], out=calm, **arguments)
    whole, seen = worker.apply, []

    def dies(scorers, batch):
        seen.append(batch.height)
        if len(seen) == 18:
            raise KeyboardInterrupt
        return whole(scorers, batch)

    monkeypatch.setattr(worker, "apply", dies)
    with pytest.raises(KeyboardInterrupt):
        score.score([str(data)], out=out, **arguments)
    (row,) = status.status(out)
    assert row["state"] == "begun"
    assert 300 <= row["rows"] < 1000
    monkeypatch.setattr(worker, "apply", whole)
    with pytest.raises(Interrupted, match="scorers changed"):
        score.score([str(data)], ("length",), out, batch_rows=32)
    assert score.score([str(data)], out=out, **arguments).rows == 1000 - row["rows"]
    assert tree(out) == tree(calm)
    assert not list((out / "_curate" / "parts").rglob("*.arrow"))


def test_a_part_of_a_file_that_changed_meanwhile_is_refused(tmp_path, small_parts, monkeypatch):
    data, out = tmp_path / "data", tmp_path / "out"
    data.mkdir()
    documents(1000).write_parquet(data / "x.parquet")
    monkeypatch.setattr(run, "_finish", lambda *a: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        score.score([str(data)], ("length",), out)
    monkeypatch.undo()
    documents(1000, 5).write_parquet(data / "x.parquet")
    with pytest.raises(Interrupted, match=r"x\.parquet changed"):
        score.score([str(data)], ("length",), out)


def test_one_and_two_workers_write_the_same_bytes_of_a_file_cut_into_tasks(tmp_path):
    rows = 2 * parts.TASK_ROWS + 1000
    text = pl.Series("text", ["some words", "of a short text", ""]).gather(np.arange(rows) % 3)
    (tmp_path / "data").mkdir()
    text.to_frame().write_parquet(tmp_path / "data" / "x.parquet", row_group_size=parts.TASK_ROWS // 2)
    for workers in (1, 2):
        result = score.score([str(tmp_path / "data")], ("length",), tmp_path / str(workers), engine=Local(workers))
        assert result.rows == rows
    assert tree(tmp_path / "1") == tree(tmp_path / "2")


def test_text_of_any_size_makes_batches_of_bounded_size(tmp_path):
    texts = ["x" * (i * 37 % 5000) for i in range(300)]
    pl.DataFrame({"text": texts}).write_parquet(tmp_path / "x.parquet", row_group_size=77)
    shard = Shard(tmp_path / "x.parquet", "x")
    batches_by_piece = {
        piece: [b["text"].to_list() for b in batches(shard, ("text",), reading=Reading(batch_rows=50), size=20_000)]
        for piece in (1, 1 << 25)
        if setattr(reading, "PIECE_BYTES", piece) is None
    }
    reading.PIECE_BYTES = 1 << 25
    in_pieces, whole = batches_by_piece.values()
    assert in_pieces == whole, "where batches end depends on how the file was read"
    assert [t for part in whole for t in part] == texts
    assert all(len(part) <= 50 and (sum(map(len, part)) <= 20_000 or len(part) == 1) for part in whole)


def test_fail_stops_at_the_first_bad_file(cli, corpus, tmp_path):
    truncated(corpus / "source=a" / "2.parquet")
    result = cli("score", corpus, "--scorer", "length", "--out", tmp_path / "out", "--on-error", "fail")
    assert result.code == 1
    assert "2.parquet" in result.err
    assert not list((tmp_path / "out").rglob("*.scores.parquet"))


def test_a_scorer_that_breaks_on_one_file_is_a_reason(corpus, tmp_path, monkeypatch):
    whole = worker.apply

    def breaks(scorers, batch):
        if "d45" in batch["id"]:
            raise ZeroDivisionError("of its own")
        return whole(scorers, batch)

    monkeypatch.setattr(worker, "apply", breaks)
    result = score.score([str(corpus)], ("length",), tmp_path / "out", on_error="quarantine")
    assert list(result.quarantined.values()) == [f"{corpus}/source=a/2.parquet: ZeroDivisionError: of its own"]
    with pytest.raises(ZeroDivisionError):
        score.score([str(corpus)], ("length",), tmp_path / "strict", on_error="fail")


def test_when_every_file_is_bad_the_job_fails_with_the_first_reason(corpus, tmp_path):
    with pytest.raises(CurateError, match="no column 'body'"):
        score.score([str(corpus)], ("length",), tmp_path / "out", text_column="body", on_error="quarantine")


def test_dry_run_forecasts_and_writes_nothing(cli, corpus, tmp_path):
    no_text(corpus / "source=a" / "2.parquet")
    documents(9).with_columns(id=pl.int_range(9)).write_parquet(corpus / "source=a" / "0.parquet", row_group_size=3)
    result = cli("score", corpus, "--scorer", "length", "--out", tmp_path / "out", "--dry-run")
    assert result.code == 0
    for words in (
        "5 files",
        "69 rows",
        "rows a second",
        "of memory",
        "no column 'text'",
        "row groups under 1000 rows",
        "column id differs between files: ",
    ):
        assert words in result.out
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl"])
def test_a_forecast_is_near_what_the_job_takes(cli, tmp_path, suffix):
    (tmp_path / "data").mkdir()
    for i in range(4):
        frame, path = documents(300, 300 * i), tmp_path / "data" / f"{i}{suffix}"
        frame.write_parquet(path) if suffix == ".parquet" else frame.write_ndjson(path)
    job = ["score", tmp_path / "data", "--scorer", "length", "--scorer", "compression", "--out", tmp_path / "out"]
    told = json.loads(cli(*job, "--dry-run", "--json").out)
    done = json.loads(cli(*job, "--json").out)
    size = sum(p.stat().st_size for p in (tmp_path / "out").rglob("*.scores.parquet"))
    assert told["rows"] == pytest.approx(done["rows"], rel=0.02)
    assert told["output_bytes"] == pytest.approx(size, rel=0.25)
    assert 0 < told["seconds_one_worker"] < 30 and told["peak_bytes_each_worker"] > 50 * MB


class Backwards:
    """An engine that runs the last task first."""

    def run(self, function, tasks):
        yield from map(function, reversed(tasks))

    def session(self, **options):
        return nullcontext(self)


def test_the_order_of_shards_and_tasks_changes_no_byte(corpus, tmp_path, small_parts):
    documents(1000).write_parquet(corpus / "long.parquet", row_group_size=130)
    specs = ("length", "compression", "embedding:width=16", "prototypes:k=3")
    for name, engine in (("calm", Local()), ("out", Backwards())):
        assert score.score([str(corpus)], specs, tmp_path / name, engine=engine).rows == 1100
    assert tree(tmp_path / "out") == tree(tmp_path / "calm")


def test_a_learned_file_with_a_pickle_in_it_is_refused(corpus, tmp_path):
    """Loading a pickle may run any code; what is read are arrays of numbers."""
    specs, out, run = ("embedding:width=16", "prototypes:k=3"), tmp_path / "out", []
    score.score([str(corpus)], specs, out)
    (path,) = (out / "_curate" / "learned").glob("*.npz")

    class Evil:
        def __reduce__(self):
            return run.append, (1,)

    np.savez(path, centres=np.array([Evil()], dtype=object))
    documents(3).write_parquet(corpus / "source=a" / "0.parquet")
    with pytest.raises(Interrupted):
        score.score([str(corpus)], specs, out)
    documents(20).write_parquet(corpus / "source=a" / "0.parquet")
    with pytest.raises(Interrupted, match="is damaged .*--restart"):
        score.score([str(corpus)], specs, out)
    assert run == []
    assert score.score([str(corpus)], specs, out, restart=True).rows == 100


# What a job hands to its own workers, as Python's own pools do, by a file that only its user can open, or by Ray. The
# third file pickles to nowhere, to see what a function holds.
BETWEEN_PROCESSES = {
    ROOT / "curate" / "engines" / name for name in ("_shared_function.py", "ray.py", "_main_script.py")
}


def test_no_code_reads_or_writes_a_pickle():
    for path in {*(ROOT / "curate").rglob("*.py"), *(ROOT / "pipelines").rglob("*.py")} - BETWEEN_PROCESSES:
        code = path.read_text(encoding="utf-8")
        for word in ("import pickle", "joblib", "torch.save", "torch.load", "allow_pickle=True", "cloudpickle", "dill"):
            assert word not in code, f"{path} has {word}"
        for call in re.findall(r"np\.savez?\([^\n]*", code):  # np.load does not read them unless asked to
            assert "allow_pickle=False" in call, f"{path}: {call}"


def test_text_from_data_is_text_in_a_report():
    import altair as alt

    from curate.reporting.html_page import Section, page

    evil = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"
    chart = alt.Chart(pl.DataFrame({"source": [evil], "rows": [1]}), title=evil).mark_bar().encode(x="source:N")
    section = Section(evil, evil, [chart], [pl.DataFrame({evil: [evil]})], [(evil, f"</pre>{evil}")])
    body = page(evil, [section]).rpartition("</script></head>")[2]
    assert "<img" not in body and "alert(1)</script>" not in body
    assert body.count("<script") == body.count("</script>") == 1, "the page's own"


def test_a_row_group_too_large_for_other_tools_is_warned_of(tmp_path, monkeypatch):
    documents(2000).write_parquet(tmp_path / "x.parquet", row_group_size=1000)
    monkeypatch.setattr(preflight, "LARGE_GROUP", 1 << 10)
    (line,) = preflight.inspect(tables.shards([str(tmp_path)]), ("text",)).warnings
    assert line.startswith("row groups over 0 MB in x.parquet")
