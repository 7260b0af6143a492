"""Scoring and pruning, every --help and every wrong usage work on a machine that has no torch."""

import sys

from conftest import console

from pipelines.shared.cli import jobs


def test_torch_is_hidden(without_torch):
    assert "No module named 'torch'" in without_torch(sys.executable, "-c", "import torch").stderr


def test_rows_are_scored_described_pruned_and_pooled(without_torch, corpus, tmp_path):
    specs = ("length", "compression", "embedding:width=16", "prototypes:k=3")
    scorers = [word for spec in specs for word in ("--scorer", spec)]
    for words in (
        ("score", corpus, *scorers, "--workers", 2, "--out", "scores"),
        ("prune", "scores", "--by", "score.prototypes", "--keep", 0.5, "--rule", "hard", "--out", "kept"),
        ("pools", "scores", "--kept", "kept", "--out", "pools.json"),
        ("describe", corpus),
        ("list", "scorers"),
    ):
        done = without_torch(*console(*words))
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "scores" / "source=a" / "0.parquet.scores.parquet").exists()
    status = without_torch(*console("status", "scores"))
    assert status.returncode == 0 and "5 of 5 files done" in status.stdout, status.stderr


def test_a_mistyped_option_is_refused(without_torch):
    done = without_torch(*console("fit", "runs.csv", "--lwa", "x"))
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)


# All pages in one process: each start of the console script takes half a second.
EVERY_HELP = """
import sys
from pipelines.shared.cli import jobs, main
for words in ([], *([job] for job in jobs())):
    sys.argv = ["curate", *words, "--help"]
    try:
        main()
    except SystemExit as end:
        assert end.code == 0, words
    print("exit 0")
"""


def test_every_help_is_printed(without_torch):
    done = without_torch(sys.executable, "-c", EVERY_HELP)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines().count("exit 0") == 1 + len(jobs())
    assert done.stdout.count("Usage: curate ") == 1 + len(jobs())


def test_a_job_that_needs_torch_says_so(without_torch, tmp_path):
    (tmp_path / "runs.csv").write_text("run,params,tokens,loss.web\na,1e6,1e8,3\n")
    words = ("fit", "runs.csv", "--law", "chinchilla", "--eval", "web", "--out", "fit.json")
    done = without_torch(*console(*words))
    assert done.returncode == 1
    assert done.stderr == "curate: `curate fit` needs PyTorch, which is not installed: pip install torch\n"
