"""The record of `materialize`: a new release continues the job of an old one."""

import json

from curate.engines.local import Local
from curate.storage.files import content_hash
from curate.training_set import job_record

ARGUMENTS = {"seed": 0, "shard rows": 64}


def test_a_record_comes_back_and_names_what_changed(tmp_path):
    rows, record = tmp_path / "rows.parquet", tmp_path / "materialize.json"
    rows.write_text("rows")
    job_record.save(record, ARGUMENTS, [rows], Local())
    assert job_record.hashes(record) == {str(rows): content_hash(rows)}
    assert job_record.changes(record, ARGUMENTS, [rows]) == []
    rows.write_text("other rows")
    changes = job_record.changes(record, {**ARGUMENTS, "seed": 1}, [rows])
    assert changes == ["seed changed (0 -> 1)", f"{rows} changed (4 -> 10 bytes)"]


def test_a_record_of_version_0_0_1_continues(tmp_path):
    rows, record = tmp_path / "rows.parquet", tmp_path / "materialize.json"
    rows.write_text("rows")
    inputs = {str(rows): {"bytes": 4, "mtime": 1, "hash": content_hash(rows)}}
    record.write_text(json.dumps({"asked": {**ARGUMENTS, "version": "0.0.1"}, "inputs": inputs}))
    assert job_record.changes(record, ARGUMENTS, [rows]) == []
    assert job_record.hashes(record) == {str(rows): content_hash(rows)}
    rows.write_text("more")
    assert job_record.changes(record, ARGUMENTS, [rows]) == [f"{rows} changed (other content, 4 bytes as before)"]
