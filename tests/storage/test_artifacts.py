"""Provenance: what an artefact says about how it was made, and that it says nothing else."""

import json

import pytest
from conftest import tree

from curate.errors import SchemaError
from curate.storage import artifacts
from curate.storage.files import write_text


def test_inputs_of_one_name_are_two(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in "ab":
        write_text(tmp_path / folder / "x", folder)
    record = artifacts.made_by({}, [(tmp_path / f / "x").relative_to(tmp_path) for f in "ab"], 0)
    assert list(record["inputs"]) == ["a/x", "b/x"]
    assert len(set(record["inputs"].values())) == 2


def test_the_same_commands_in_two_fresh_folders_make_the_same_pools(cli, corpus, tmp_path, monkeypatch):
    """Manifest entries hold the times of the inputs; an artefact must not depend on them."""
    result = []
    for name in ("one", "two"):
        folder = tmp_path / name
        for relative, content in tree(corpus).items():
            (folder / "data" / relative).parent.mkdir(parents=True, exist_ok=True)
            (folder / "data" / relative).write_bytes(content)
        monkeypatch.chdir(folder)
        scorers = ("--scorer", "length", "--scorer", "embedding:width=16", "--scorer", "prototypes:k=3")
        assert cli("score", "data", *scorers, "--out", "scores").code == 0
        assert (
            cli("prune", "scores", "--by", "score.prototypes", "--keep", 0.8, "--rule", "hard", "--out", "kept").code
            == 0
        )
        assert (
            cli("pools", "scores", "--kept", "kept", "--by", "score.length", "--bins", 2, "--out", "p.json").code == 0
        )
        result.append((folder / "p.json").read_bytes())
    assert result[0] == result[1]
    assert set(json.loads(result[0])["made_by"]["inputs"]) == {"scores", "kept"}


def test_an_artefact_carries_its_format_and_the_one_before_is_read(tmp_path):
    path = tmp_path / "plan.json"
    artifacts.save(path, "plan", {"plans": []})
    present = artifacts.KINDS["plan"].format
    assert artifacts.load(path, "plan")["format"] == present
    write_text(path, json.dumps({"plans": []}))
    assert artifacts.load(path, "plan") == {"plans": []}


@pytest.mark.parametrize(
    ("number", "words"), [(99, "Install a newer curate"), (0, "again"), (2.0, "again"), (None, "again")]
)
def test_a_format_that_is_not_read_is_one_line(tmp_path, number, words):
    write_text(tmp_path / "plan.json", json.dumps({"plans": [], "format": number}))
    with pytest.raises(SchemaError, match=rf"plan.json has format {number}; .* reads 1 and 2\. .*{words}"):
        artifacts.load(tmp_path / "plan.json", "plan")
