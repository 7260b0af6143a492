"""What is done, and why a job would not continue."""

from dataclasses import replace

import pytest

from curate.errors import Interrupted
from curate.storage import manifest
from curate.storage.files import content_hash

STEP, SHARD = "score", "deep/x.parquet"


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


def test_an_entry_comes_back(done):
    out, source, _ = done
    entry = manifest.read(out, STEP, SHARD)
    assert (entry.step, entry.shard, entry.rows, entry.config, entry.size) == (STEP, SHARD, 3, "abc", 4)
    assert manifest.changes(entry, source, "abc", at=manifest.entry_path(out, STEP, SHARD)) == []
    assert manifest.read(out, STEP, "other") is None


def test_finished_work_is_not_pending(done):
    out, _, work = done
    assert manifest.pending(out, STEP, work, "abc", restart=False) == []
    assert manifest.pending(out, "other step", work, "abc", restart=False) == work
    work[0][2].unlink()
    assert manifest.pending(out, STEP, work, "abc", restart=False) == work


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda source: source.write_text("other rows"), r"input .*x\.parquet changed \(4 -> 10 bytes\)"),
        (lambda source: source.write_text("ROWS"), r"input .*x\.parquet changed"),
    ],
)
def test_a_changed_input_is_refused(done, change, reason):
    out, source, work = done
    change(source)
    with pytest.raises(Interrupted, match=reason):
        manifest.pending(out, STEP, work, "abc", restart=False)
    assert manifest.pending(out, STEP, work, "abc", restart=True) == work
    assert manifest.read(out, STEP, SHARD) is None


def test_another_configuration_or_version_is_refused(done):
    out, source, work = done
    with pytest.raises(Interrupted, match=r"deep/x\.parquet: configuration changed .*--restart"):
        manifest.pending(out, STEP, work, "def", restart=False)
    entry = replace(manifest.read(out, STEP, SHARD), version="0.0.0")
    at = manifest.entry_path(out, STEP, SHARD)
    assert "version changed (0.0.0 ->" in manifest.changes(entry, source, "abc", at=at)[0]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"step": 1}'])
def test_a_damaged_entry_is_named(done, content):
    out, _, work = done
    manifest.entry_path(out, STEP, SHARD).write_text(content)
    with pytest.raises(Interrupted, match=r"x\.parquet\.json is damaged"):
        manifest.pending(out, STEP, work, "abc", restart=False)
    assert manifest.pending(out, STEP, work, "abc", restart=True) == work
