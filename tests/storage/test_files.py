"""Atomic files and hashes."""

import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.storage import atomic, files
from curate.storage.files import content_hash, replacing, sweep, text_hash, write_text


def test_an_exception_leaves_the_old_file_and_no_temporary(tmp_path):
    path = tmp_path / "deep" / "a.txt"
    write_text(path, "old")
    with pytest.raises(RuntimeError), replacing(path) as temporary:
        temporary.write_text("half")
        assert path.read_text() == "old"
        raise RuntimeError
    assert path.read_text() == "old"
    assert [p.name for p in path.parent.iterdir()] == ["a.txt"]


def test_success_replaces_and_leaves_no_temporary(tmp_path):
    for content in ("one", "two"):
        write_text(tmp_path / "a", content)
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("a", "two")]


def test_a_new_file_appears_only_when_complete(tmp_path):
    with replacing(tmp_path / "a") as temporary:
        temporary.write_bytes(b"x")
        assert not (tmp_path / "a").exists()
        assert temporary.name.startswith("."), "input discovery must not see it"
    assert (tmp_path / "a").read_bytes() == b"x"


@given(st.binary(max_size=64), st.binary(max_size=64))
def test_content_hash_is_of_the_bytes(tmp_path, a, b):
    (tmp_path / "a").write_bytes(a)
    (tmp_path / "b").write_bytes(b)
    assert (content_hash(tmp_path / "a") == content_hash(tmp_path / "b")) == (a == b)


def test_content_hash_of_a_folder_sees_names_and_bytes(tmp_path):
    def digest(files: dict[str, str]) -> str:
        folder = tmp_path / text_hash(repr(sorted(files.items())))
        for name, content in files.items():
            write_text(folder / name, content)
        return content_hash(folder)

    variants = [{"a": "1", "b": "2"}, {"a": "2", "b": "1"}, {"a": "1", "c": "2"}, {"a": "1", "x/b": "2"}, {"a": "1"}]
    assert len({digest(v) for v in variants}) == len(variants)


def test_large_file_is_hashed_in_pieces(tmp_path):
    (tmp_path / "a").write_bytes(b"0123456789abcdef" * 150_000)
    assert content_hash(tmp_path / "a") == text_hash("0123456789abcdef" * 150_000)


def test_records_and_temporaries_are_no_content_of_a_folder(tmp_path):
    write_text(tmp_path / "a", "1")
    before = content_hash(tmp_path)
    for name in ("_curate/score/a.json", ".a.1.tmp", "deep/.b"):
        write_text(tmp_path / name, "x")
    assert content_hash(tmp_path) == before


def test_what_a_dead_process_left_is_swept(tmp_path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    dead, own, other = (tmp_path / "d" / f".a.json.{pid}.tmp" for pid in (gone.pid, os.getpid(), os.getppid()))
    foreign = [tmp_path / "d" / name for name in (".a.tmp", f"a.json.{gone.pid}.tmp", f".a.csv.{gone.pid}.tmp")]
    for path in (dead, own, other, *foreign):
        write_text(path, "x")
    assert sweep(tmp_path, ".json") == 1
    assert not dead.exists()
    assert all(path.exists() for path in (own, other, *foreign))
    assert sweep(tmp_path / "nosuch") == 0


def test_a_live_file_of_another_machine_is_not_swept(tmp_path, monkeypatch):
    """Also of one with the same host name: two containers, or this machine before it was started again."""
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    ours, theirs = (tmp_path / f".a.json.{name}-{gone.pid}.tmp" for name in (atomic.host(), "0123abcd"))
    for path in (ours, theirs):
        write_text(path, "x")
    assert sweep(tmp_path) == 1
    assert theirs.exists()
    atomic.host.cache_clear()
    monkeypatch.setattr(files.os, "readlink", lambda _: "pid:[1]")
    assert atomic.host() != ours.name.split(".")[3].split("-")[0]
    atomic.host.cache_clear()


def test_files_replaced_together_appear_at_the_end(tmp_path):
    (tmp_path / "a.txt").write_text("old")
    with files.together():
        for name in ("a.txt", "deep/b.txt", "deep/c.txt"):
            files.write_text(tmp_path / name, f"new {name}")
        assert (tmp_path / "a.txt").read_text() == "old"
        assert files.below(tmp_path, "b.txt") == []
    names = ("a.txt", *(f"deep/{letter}.txt" for letter in "bc"))
    assert [(tmp_path / name).read_text() for name in names] == [f"new {name}" for name in names]
    assert len(files.below(tmp_path, "")) == 3


def test_an_error_among_files_replaced_together_leaves_the_old_ones(tmp_path):
    (tmp_path / "a.txt").write_text("old")
    with pytest.raises(ValueError, match="stop"), files.together():
        files.write_text(tmp_path / "a.txt", "new")
        files.write_text(tmp_path / "b.txt", "new")
        raise ValueError("stop")
    assert [path.name for path in files.below(tmp_path, "")] == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "old"


def test_many_files_are_replaced_together(tmp_path):
    with files.together():
        for number in range(5 * atomic.SYNC_THREADS):
            files.write_text(tmp_path / f"{number % 3}/{number}", str(number))
    assert sorted(int(path.read_text()) for path in files.below(tmp_path, "")) == list(range(5 * atomic.SYNC_THREADS))


def test_a_folder_is_removed_and_a_link_to_it_is_not_followed(tmp_path):
    (tmp_path / "folder" / "deep").mkdir(parents=True)
    (tmp_path / "kept").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "kept")
    for name in ("folder", "link", "nothing"):
        files.remove(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
