"""What a job was made from, and how another job differs."""

import os

from curate.storage import job_record
from curate.storage.job_record import InputFile, JobRecord


def test_a_record_comes_back():
    record = JobRecord({"k": 3}, {"a": InputFile("00", 4, "4:1"), "b": InputFile("01")})
    assert job_record.from_json(record.to_json()) == record


def test_records_of_format_1_are_read():
    old = {"asked": {"k": 3}, "inputs": {"a": {"bytes": 4, "mtime": 1, "hash": "00"}, "b": "01"}}
    assert job_record.from_json(old) == JobRecord({"k": 3}, {"a": InputFile("00", 4), "b": InputFile("01")})


def test_arguments_that_differ_are_named():
    before = {"batch_rows": 1, "formats": {"length": 1, "d2": 1}, "pool a": {"where": ["x"]}, "same": [1]}
    after = {"batch_rows": 2, "formats": {"length": 2, "d2": 1}, "pool a": {"where": ["y"]}, "same": [1]}
    assert job_record.argument_changes(before, after) == [
        "batch rows changed (1 -> 2)",
        "formats changed (length 1 -> length 2)",
        "pool a changed",
    ]
    assert job_record.argument_changes({}, {"scorers": ["length"]}) == ["scorers changed (none -> length)"]


def test_inputs_that_differ_are_named(tmp_path):
    paths = [tmp_path / name for name in "abc"]
    for path in paths:
        path.write_text(path.name)
    before = dict(map(job_record.input_file, paths[:2]))
    os.utime(paths[0], (1, 1))
    paths[1].write_text("longer")
    after = job_record.current_inputs(paths[1:], before)
    assert job_record.input_changes(before, after) == [
        f"{paths[2]} is new",
        f"{paths[0]} is gone",
        f"{paths[1]} changed (1 -> 6 bytes)",
    ]
    assert job_record.input_changes(before, job_record.current_inputs(paths[:1], before)) == [f"{paths[1]} is gone"]


def test_a_file_with_its_old_stamp_is_not_read_again(tmp_path, monkeypatch):
    path = tmp_path / "a"
    path.write_text("rows")
    before = dict([job_record.input_file(path)])
    monkeypatch.setattr(job_record.files, "content_hash", lambda path: 1 / 0)
    assert job_record.current_inputs([path], before) == before


def test_a_long_list_is_cut():
    assert job_record.listed(["a", "b", "c", "d", "e"]) == "a; b; c and 2 more"
