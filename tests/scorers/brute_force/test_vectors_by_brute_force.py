"""Scorers of vectors as jobs over several parts, against brute force from their definitions."""

import json

import numpy as np
import polars as pl
import pytest
import torch
from learned_job import (
    CLUMPS,
    FILE_ROWS,
    ROWS,
    column,
    folder,
    rows,
    run_job,
    scored,
    target,
    unit_vectors,
    write_files,
)
from scipy.optimize import linprog
from scipy.stats import rankdata

from curate.errors import SchemaError
from curate.scorers import dynamics

QUANTISED = 1e-3  # centres are learned from vectors that are rounded to about 1/4000


def true_clumps():
    """The clump of every row, and the directions of the mean unit vectors of the clumps.

    The clumps are so far apart that they are the best clusters.
    """
    x = unit_vectors("emb.clumps")
    clump = x[:, :CLUMPS].argmax(axis=1)
    means = np.stack([x[clump == c].sum(axis=0) for c in range(CLUMPS)])
    return clump, means / np.linalg.norm(means, axis=1, keepdims=True)


def test_prototypes_are_the_means_of_the_clumps():
    clump, means = true_clumps()
    cosines = (unit_vectors("emb.clumps") * means[clump]).sum(axis=1)
    assert column("score.prototypes") == pytest.approx(1 - cosines, abs=QUANTISED)
    assert len(set(zip(clump, column("cluster.prototypes"), strict=True))) == CLUMPS


def test_density_is_the_distance_between_clusters_times_that_within():
    clump, means = true_clumps()
    x = unit_vectors("emb.clumps")
    between = (CLUMPS - (means @ means.T).sum(axis=1)) / (CLUMPS - 1)  # fewer than 20 others: all of them
    within = np.array([(1 - x[clump == c] @ means[c]).mean() for c in range(CLUMPS)])
    assert column("score.density") == pytest.approx((between * within)[clump], rel=0.02)
    assert len(set(zip(clump, column("cluster.density"), strict=True))) == CLUMPS
    assert within.max() > 1.2 * within.min()


def check_thinned(scores, epsilon, same_cluster=True):
    """What ``semdedup`` promises of its scores, for every threshold up to epsilon."""
    cosine = unit_vectors("emb.clumps") @ unit_vectors("emb.clumps").T
    np.fill_diagonal(cosine, -1)
    for e in [epsilon, *np.unique(scores[scores < 1])]:
        stays = scores >= e
        if e == epsilon or same_cluster:
            assert cosine[np.ix_(stays, stays)].max() <= 1 - e + 1e-6
        assert (cosine[np.ix_(~stays, stays)].max(axis=1, initial=-1) > 1 - e - 1e-6).all()
    assert ROWS / 20 < (scores == 1).sum() < ROWS / 1.5 and len(np.unique(scores)) > 20
    return cosine


@pytest.mark.parametrize("order", ["hard", "easy"])
def test_semdedup_keeps_each_row_that_is_like_no_earlier_one_that_stays(order):
    spec = f"semdedup:k=1,epsilon=0.1,embedding=emb.clumps,order={order}"
    scores = column("score.semdedup") if order == "hard" else scored("easy", spec)["score.semdedup"].to_numpy()
    cosine = check_thinned(scores, 0.1)
    centre = unit_vectors("emb.clumps").sum(axis=0)
    distance = 1 - unit_vectors("emb.clumps") @ centre / np.linalg.norm(centre)
    turn = -distance if order == "hard" else distance
    # A row goes only because of a row that stays and has its turn before.
    stays = scores == 1
    earlier = (turn[stays] <= turn[~stays][:, None] + QUANTISED) & (cosine[np.ix_(~stays, stays)] > 0.9 - 1e-6)
    assert earlier.any(axis=1).all()


def test_semdedup_misses_no_pair_that_a_border_divides():
    spec = "semdedup:k=9,epsilon=0.1,border=1,embedding=emb.clumps"
    check_thinned(scored("borders", spec)["score.semdedup"].to_numpy(), 0.1, same_cluster=False)


def test_d2_selects_the_row_with_the_largest_message_each_time():
    """The order of the scores is followed step by step, and each row must be a largest one."""
    x, difficulty = unit_vectors("emb.clumps"), column("score.prototypes")
    distance = np.linalg.norm(x[:, None] - x, axis=2)
    np.fill_diagonal(distance, np.inf)
    near = np.argsort(distance, axis=1)[:, :3]
    weight = np.exp(-np.take_along_axis(distance, near, axis=1))
    message = difficulty + (weight * difficulty[near]).sum(axis=1)
    scores = column("score.d2")
    assert sorted(scores) == pytest.approx(np.arange(1, ROWS + 1) / ROWS)
    for row in np.argsort(-scores):
        assert message[row] >= message.max() - 1e-6
        message[near[row]] -= weight[row] * message[row]
        message[row] = -np.inf


@pytest.mark.parametrize("by", ["class", "all"])
def test_moderate_ranks_the_distances_to_the_medians(by):
    scores = column("score.moderate")
    if by == "all":
        scores = scored("moderate", "moderate:by=all,embedding=emb.grid")["score.moderate"].to_numpy()
    x = rows()["emb.grid"].to_numpy().astype(float)
    group = rows()["label"].to_numpy() if by == "class" else np.zeros(ROWS, int)
    squares = sum(((x - np.median(x[group == g], axis=0)) ** 2).sum(axis=1) * (group == g) for g in np.unique(group))
    rank = rankdata(squares, method="average")
    assert len(np.unique(squares)) < ROWS - 20, "some distances are to be equal"
    assert scores == pytest.approx(1 - np.abs(2 * (rank - 0.5) / ROWS - 1), abs=1e-12)


def test_class_prototypes_are_mean_directions():
    x, label = unit_vectors("emb.grid"), rows()["label"].to_numpy()
    means = np.stack([x[label == c].sum(axis=0) for c in label])
    expected = 1 - (x * means / np.linalg.norm(means, axis=1, keepdims=True)).sum(axis=1)
    assert column("score.class_prototypes") == pytest.approx(expected, abs=3e-7)


def test_coverage_is_an_integral_over_the_plane():
    """The probes of the job are replaced by a fine grid of quantiles of the triangular distributions."""
    x = rows()["emb.plane"].to_numpy().astype(float)
    low, middle, high = x.min(axis=0), np.median(x, axis=0), x.max(axis=0)
    u = (np.arange(500) + 0.5)[:, None] / 500
    rising = low + np.sqrt(u * (high - low) * (middle - low))
    falling = high - np.sqrt((1 - u) * (high - low) * (high - middle))
    values = np.where(u < (middle - low) / (high - low), rising, falling)
    winners = np.zeros(ROWS)
    for first in values[:, 0]:
        squares = (x[:, 0] - first) ** 2 + (x[:, 1] - values[:, 1:]) ** 2
        winners += np.bincount(squares.argmin(axis=1), minlength=ROWS)
    winners *= ROWS / 500**2
    squares = ((x[:, None] - x) ** 2).sum(axis=2)
    np.fill_diagonal(squares, np.inf)
    expected = winners.copy()
    for row, near in enumerate(np.argsort(squares, axis=1)[:, :3]):
        expected[near] -= winners[row] / 3
    error = np.abs(column("score.coverage") - expected)
    assert error.max() < 0.12 and error.mean() < 0.015 < expected.std() / 20


def test_transport_values_are_potentials_of_the_cheapest_transport():
    """Linear programming gives the least cost, and potentials are right if they add up to it.

    The potential of a target row is the smallest cost less the potential of a row: any other would not be feasible.
    """
    x, y = (frame["emb.clumps"].to_numpy().astype(float) for frame in (rows(), target()))
    spread = ((y - y.mean(axis=0)) ** 2).sum(axis=1).mean()
    costs = ((x[:, None] - y) ** 2).sum(axis=2) / (2 * spread)
    potentials = -column("score.transport_value")  # up to a constant, which does not change the sum
    prices = (costs - potentials[:, None]).min(axis=0)
    n, q = costs.shape
    sums = np.zeros((n + q, n * q))
    for i in range(n):
        sums[i, i * q : (i + 1) * q] = 1
    for j in range(q):
        sums[n + j, j::q] = 1
    least = linprog(costs.ravel(), A_eq=sums[:-1], b_eq=np.r_[np.full(n, 1 / n), np.full(q - 1, 1 / q)])
    assert potentials.mean() + prices.mean() == pytest.approx(least.fun, abs=1e-8)
    assert potentials.mean() == pytest.approx(0, abs=1e-9)


def trained(x, labels, epochs):
    """Logits of a softmax regression after each epoch of Adam on all rows at once, by torch."""
    mean = x.mean(axis=0)
    scale = np.sqrt(((x - mean) ** 2).mean())
    z = torch.tensor((rows()["emb.clumps"].to_numpy() - mean) / scale, dtype=torch.float64)
    layer = torch.nn.Linear(x.shape[1], 4, dtype=torch.float64)
    torch.nn.init.zeros_(layer.weight)
    torch.nn.init.zeros_(layer.bias)
    adam = torch.optim.Adam(layer.parameters(), lr=0.05)
    learned_from = torch.tensor((x - mean) / scale, dtype=torch.float64)
    for _ in range(epochs):
        adam.zero_grad()
        torch.nn.functional.cross_entropy(layer(learned_from), torch.tensor(labels)).backward()
        adam.step()
        yield layer(z).detach().numpy()


def test_dynamics_are_steps_of_adam():
    x, labels = rows()["emb.clumps"].to_numpy().astype(float), rows()["label"].to_numpy()
    for epoch, logits in enumerate(trained(x, labels, 3)):
        assert job_logits("one", epoch) == pytest.approx(logits, abs=1e-4)
    assert np.ptp(logits) > 0.1


def test_with_folds_each_row_is_scored_by_a_model_that_did_not_see_its_fold():
    scored("folds", "dynamics:folds=3,checkpoints=2,batch=1000,rate=0.05,embedding=emb.clumps")
    x, labels = rows()["emb.clumps"].to_numpy().astype(float), rows()["label"].to_numpy()
    fold = dynamics.fold(rows()["id"], 3)
    for f in range(3):
        *_, logits = trained(x[fold != f], labels[fold != f], 2)
        assert job_logits("folds", 1)[fold == f] == pytest.approx(logits[fold == f], abs=1e-4)


def job_logits(job, epoch):
    column("score.prototypes")
    frames = [pl.read_parquet(path) for path in sorted((folder() / job).glob("*.scores.parquet"))]
    return np.concatenate([frame[f"logits.{epoch}"].to_numpy() for frame in frames if frame.height])


@pytest.mark.parametrize(
    "spec",
    [
        f"prototypes:k={ROWS + 1},embedding=emb.clumps",
        f"density:k={ROWS + 1},embedding=emb.clumps",
        f"semdedup:k={ROWS + 1},embedding=emb.clumps",
        f"d2:near={ROWS},by=tokens,embedding=emb.clumps",
        f"coverage:near={ROWS},embedding=emb.clumps",
    ],
)
def test_more_centres_or_neighbours_than_rows_are_one_line(spec):
    with pytest.raises(SchemaError, match=f"{ROWS}") as refusal:
        scored(spec.split(":")[0] + "-refused", spec)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("prototypes:k=1,embedding=emb.clumps", 0),
        ("semdedup:embedding=emb.clumps", 1),
        ("moderate:by=all,embedding=emb.clumps", 1),
        ("duplicates", 1),
    ],
)
def test_a_single_row_has_a_score(tmp_path, spec, expected):
    write_files(rows()[:1], tmp_path / "data", (1, 0))
    frames = run_job(tmp_path / "data", [spec], tmp_path / "out")
    name = spec.split(":")[0]
    assert [frame[f"score.{name}"].to_list() for frame in frames.values()] == [[pytest.approx(expected, abs=1e-6)], []]


def test_each_file_is_a_part():
    column("score.prototypes")
    recorded = json.loads((folder() / "one" / "_curate" / "corpus.json").read_text())["parts"]
    assert len(recorded) == len(FILE_ROWS)
