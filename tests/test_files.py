"""Atomic files and hashes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.files import content_hash, replacing, text_hash, write_text


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
