"""Quotas by recall and by complexity, through the command line: the numbers of the papers."""

import json

import numpy as np
import polars as pl
import pytest
from conftest import one_line
from score_folders import score_folder

SIZES, RECALL = (2000, 1000, 500, 250, 50), (0.95, 0.6, 0.8, 0.3, 0.9)
PUBLISHED = {"c0": 64, "c1": 515, "c2": 257, "c3": 250, "c4": 50}  # by the authors' code


def classes(tmp_path, sizes, column="label", **more):
    """A score folder of classes c0, c1, ... with these sizes, and random scores."""
    group = np.repeat(np.arange(len(sizes)), sizes)
    names = [f"c{i}" for i in group] if column == "label" else group.astype(np.int32)
    rng = np.random.default_rng(0)
    frame = pl.DataFrame(
        {
            "id": [f"r{i}" for i in range(len(group))],
            "source": ["s"] * len(group),
            "tokens": rng.integers(90, 110, len(group)),
            column: names,
            "score.x": rng.normal(size=len(group)),
            **{name: np.asarray(values)[group] for name, values in more.items()},
        }
    )
    return score_folder(tmp_path / "scores", frame, cuts=(len(group) // 3,))


def recalls(values):
    return [word for i, value in enumerate(values) for word in ("--recall", f"c{i}={value}")]


def pruned(cli, scores, out, *arguments):
    done = cli("prune", scores, "--by", "score.x", *arguments, "--json", "--out", out)
    assert done.code == 0, done.err
    return json.loads(done.out)


@pytest.mark.parametrize("rule", ["sample", "middle", "stratified"])
def test_recall_quotas_are_those_of_the_authors_code(tmp_path, cli, rule):
    scores = classes(tmp_path, SIZES)
    arguments = ("--keep", 0.3, "--rule", rule, "--balance", "label:recall", *recalls(RECALL))
    record = pruned(cli, scores, tmp_path / "kept", *arguments)
    assert {row["label"]: row["kept"] for row in record["by_label"]} == PUBLISHED
    assert record["total"]["kept"] == 1136  # of 1,140: two roundings down
    assert record["warnings"] == []


@pytest.mark.parametrize(
    ("sizes", "recall", "expected"),
    [
        ((40, 20, 20), (1, 1, 1), [8, 8, 8]),  # no class misses anything: the same number of each
        ((40, 20, 20), (1, 1, 0.5), [2, 2, 20]),  # the third is full, and the others share the rest
        ((40, 40), (0.9, 0.1), [2, 21]),  # 24 rows, 1 to 9, rounded down: 2.4 and 21.6
    ],
)
def test_recall_quotas_at_the_ends(tmp_path, cli, sizes, recall, expected):
    scores = classes(tmp_path, sizes)
    arguments = ("--keep", 0.3, "--rule", "sample", "--balance", "label:recall", *recalls(recall))
    record = pruned(cli, scores, tmp_path / "kept", *arguments)
    assert [row["kept"] for row in record["by_label"]] == expected


def test_rows_lost_by_rounding_are_a_warning(tmp_path, cli):
    """7.5, 15 and 7.5 rows are rounded down."""
    scores = classes(tmp_path, (40, 20, 40))
    arguments = ("--keep", 0.3, "--rule", "sample", "--balance", "label:recall", *recalls((0.75, 0.5, 0.75)))
    record = pruned(cli, scores, tmp_path / "kept", *arguments)
    assert [row["kept"] for row in record["by_label"]] == [7, 15, 7]
    assert record["warnings"] == [
        "--balance label:recall rounds the rows of each class down, so 29 rows are kept where --keep asks for 30. "
        "Raise --keep, or balance by label:even"
    ]


def test_more_rows_than_there_are_is_one_line(tmp_path, cli):
    scores = classes(tmp_path, (40, 20))
    arguments = ("--keep", 0.9, "--trim", 0.2, "--rule", "sample", "--balance", "label:recall", *recalls((0.5, 0.5)))
    line = one_line(cli("prune", scores, "--by", "score.x", *arguments, "--out", tmp_path / "kept"))
    assert "--keep 0.9 and --trim 0.2 are more than all rows" in line


COMPLEXITY = (0.05, 0.15, 0.295)


@pytest.mark.parametrize(
    ("balance", "expected"),
    [
        ("dbp:0.1", [59, 160, 681]),  # 900 rows by exp(0), exp(1) and exp(2.45): 58.8, 159.8 and 681.4
        ("dbp", [59, 160, 681]),  # 0.1 is the default
        ("dbp:1e9", [300, 300, 300]),
        ("dbp:0.1:100", [100, 139, 661]),  # the first is raised by 41.2, which the others give up evenly: 20.6 each
    ],
)
def test_quotas_by_complexity_are_the_softmax_of_the_paper(tmp_path, cli, balance, expected):
    """Abbas et al. 2024, equation 2: the largest share is exp((.295 - .05) / .1) = 11.6 times the smallest."""
    scores = classes(tmp_path, (1000, 1000, 1000), "cluster.density", **{"score.density": COMPLEXITY})
    kept = tmp_path / "kept"
    pruned(cli, scores, kept, "--keep", 0.3, "--rule", "sample", "--balance", balance)
    frames = [pl.read_parquet(path) for path in sorted(kept.glob("*.keep.parquet"))]
    clusters = pl.concat([pl.read_parquet(path) for path in sorted(scores.glob("*.parquet"))])["cluster.density"]
    counts = pl.concat(frames).with_columns(clusters).filter("keep").group_by("cluster.density").agg(pl.len())
    assert counts.sort("cluster.density")["len"].to_list() == expected
