"""What is done, and why a job would not continue."""

import json
from dataclasses import asdict

import pytest

from curate.errors import Interrupted
from curate.storage import manifest
from curate.storage.files import content_hash
from curate.storage.manifest import Configuration

STEP, SHARD = "score", "deep/x.parquet"
SAME = Configuration("abc")


@pytest.fixture
def done(tmp_path):
    """(out, source, work) of one finished shard."""
    source, output, out = tmp_path / "x.parquet", tmp_path / "out" / "x.scores", tmp_path / "out"
    source.write_text("rows")
    output.parent.mkdir()
    output.write_text("scores")
    digest = content_hash(source)
    manifest.record(out, manifest.entry(STEP, SHARD, source, digest=digest, config="abc", rows=3))
    return out, source, [(SHARD, source, output)]


def age(out, **fields):
    """Rewrite the entry of the shard as version 0.0.1 wrote it, in format 1."""
    entry = asdict(manifest.read(out, STEP, SHARD)) | {"version": "0.0.1", "config": "old"} | fields
    del entry["format"]
    manifest.entry_path(out, STEP, SHARD).write_text(json.dumps(entry))


def test_an_entry_comes_back(done):
    out, source, _ = done
    entry = manifest.read(out, STEP, SHARD)
    assert (entry.step, entry.shard, entry.rows, entry.config, entry.size) == (STEP, SHARD, 3, "abc", 4)
    assert manifest.changes(entry, source, SAME, path=manifest.entry_path(out, STEP, SHARD)) == []
    assert manifest.read(out, STEP, "other") is None


def test_finished_work_is_not_pending(done):
    out, _, work = done
    assert manifest.pending(out, STEP, work, SAME, restart=False) == []
    assert manifest.pending(out, "other step", work, SAME, restart=False) == work
    work[0][2].unlink()
    assert manifest.pending(out, STEP, work, SAME, restart=False) == work


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda source: source.write_text("other rows"), r"the rows of input .*x\.parquet changed \(4 -> 10 bytes\)"),
        (lambda source: source.write_text("ROWS"), r"input .*x\.parquet changed"),
    ],
)
def test_a_changed_input_is_refused(done, change, reason):
    out, source, work = done
    change(source)
    with pytest.raises(Interrupted, match=reason):
        manifest.pending(out, STEP, work, SAME, restart=False)
    assert manifest.pending(out, STEP, work, SAME, restart=True) == work
    assert manifest.read(out, STEP, SHARD) is None


def test_another_configuration_is_refused(done):
    out, _, work = done
    with pytest.raises(Interrupted, match=r"deep/x\.parquet: configuration changed \(abc -> def\).*--restart"):
        manifest.pending(out, STEP, work, Configuration("def"), restart=False)
    with pytest.raises(Interrupted, match=r"deep/x\.parquet: scorers changed.*--restart"):
        manifest.pending(out, STEP, work, Configuration("def", ["scorers changed"]), restart=False)


def test_another_version_continues(done):
    out, _, work = done
    age(out, config="abc")
    entry = manifest.read(out, STEP, SHARD)
    assert (entry.version, entry.format) == ("0.0.1", 1)
    assert manifest.pending(out, STEP, work, SAME, restart=False) == []


def test_an_old_entry_is_judged_by_the_record_that_was_written_with_it(done):
    out, _, work = done
    age(out)
    alike = Configuration("abc", covers_old_entries=True)
    assert manifest.pending(out, STEP, work, alike, restart=False) == []
    with pytest.raises(Interrupted, match="scorers changed"):
        manifest.pending(out, STEP, work, Configuration("abc", ["scorers changed"], True), restart=False)
    with pytest.raises(Interrupted, match="configuration changed"):
        manifest.pending(out, STEP, work, SAME, restart=False)
    manifest.renew(out, STEP, alike)
    assert manifest.pending(out, STEP, work, SAME, restart=False) == []


@pytest.mark.parametrize("content", ["", "{", "[]", '{"step": 1}'])
def test_a_damaged_entry_is_named(done, content):
    out, _, work = done
    manifest.entry_path(out, STEP, SHARD).write_text(content)
    with pytest.raises(Interrupted, match=r"x\.parquet\.json.*: delete it to redo its shard"):
        manifest.pending(out, STEP, work, SAME, restart=False)
    assert manifest.pending(out, STEP, work, SAME, restart=True) == work


def test_an_entry_of_a_newer_format_is_refused(done):
    out, _, work = done
    path = manifest.entry_path(out, STEP, SHARD)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": manifest.FORMAT + 1}))
    with pytest.raises(Interrupted, match=rf"has format {manifest.FORMAT + 1}; .*newer curate"):
        manifest.pending(out, STEP, work, SAME, restart=False)


def test_many_shards_are_recorded_at_once(tmp_path):
    source = tmp_path / "x.parquet"
    source.write_text("rows")
    out, names = tmp_path / "out", [f"{i % 2}/{i}.parquet" for i in range(20)]
    manifest.set_aside(out, manifest.SetAside(STEP, names[0], "bad", "stamp"))
    entries = [manifest.entry(STEP, name, source, digest="d", config="abc", rows=i) for i, name in enumerate(names)]
    manifest.record_all(out, entries)
    assert [manifest.read(out, STEP, name).rows for name in names] == list(range(20))
    assert manifest.finished(out, STEP) == set(names)
    assert manifest.quarantined_all(out, STEP) == {}
    one_by_one = tmp_path / "other"
    for entry in entries:
        manifest.record(one_by_one, entry)
    for name in names:
        paths = [manifest.entry_path(folder, STEP, name) for folder in (out, one_by_one)]
        assert paths[0].read_bytes() == paths[1].read_bytes()
