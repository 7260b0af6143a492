"""Scoring and pruning, every --help and every wrong usage work on a machine that has no torch."""

import os
import subprocess

import pytest
from conftest import console

from pipelines.shared.cli import jobs

# A package of this name on the path hides the real one, also from worker processes.
BLOCKER = "raise ModuleNotFoundError(\"No module named 'torch'\", name='torch')\n"


@pytest.fixture
def without_torch(tmp_path):
    folder = tmp_path / "hidden" / "torch"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text(BLOCKER)

    def run(*words):
        path = os.pathsep.join(filter(None, [str(folder.parent), os.environ.get("PYTHONPATH", "")]))
        environment = os.environ | {"PYTHONPATH": path}
        return subprocess.run(console(*words), env=environment, capture_output=True, text=True, cwd=tmp_path)

    return run


def test_rows_are_scored_described_pruned_and_pooled(without_torch, corpus, tmp_path):
    scorers = (
        "--scorer",
        "length",
        "--scorer",
        "compression",
        "--scorer",
        "embedding:width=16",
        "--scorer",
        "prototypes:k=3",
    )
    for words in (
        ("score", corpus, *scorers, "--workers", 2, "--out", "scores"),
        ("prune", "scores", "--by", "score.prototypes", "--keep", 0.5, "--out", "kept"),
        ("pools", "scores", "--kept", "kept", "--out", "pools.json"),
        ("describe", corpus),
        ("status", "scores"),
        ("list", "scorers"),
    ):
        done = without_torch(*words)
        assert done.returncode == 0, done.stderr


def test_a_mistyped_option_is_refused(without_torch):
    done = without_torch("fit", "runs.csv", "--lwa", "x")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)


def test_every_help_is_printed(without_torch):
    for job in jobs():
        assert without_torch(job, "--help").returncode == 0, job


def test_a_job_that_needs_torch_says_so(without_torch, tmp_path):
    (tmp_path / "runs.csv").write_text("run,params,tokens,loss.web\na,1e6,1e8,3\n")
    done = without_torch("fit", "runs.csv", "--law", "chinchilla", "--eval", "web", "--out", "fit.json")
    assert done.returncode == 1
    assert done.stderr == "curate: `curate fit` needs PyTorch, which is not installed: pip install torch\n"
