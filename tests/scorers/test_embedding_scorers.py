"""Scorers of embeddings against cases worked by hand and brute force at n = 200; what bad input is told."""

import json
import re
from functools import cache
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from corpora import corpus_of, with_stored
from hypothesis import given, settings
from hypothesis import strategies as st

from curate import open_sets
from curate.errors import SchemaError
from curate.scorers import class_prototypes, coverage, d2, density, moderate, prototypes, semdedup
from curate.streaming.vectors import assignment, kmeans, medians, nearest
from curate.tables.batches import keys
from curate.tables.corpus.array_files import write_arrays
from curate.tables.corpus.corpus import kept_path

IDS = [f"r{i}" for i in range(1000)]


@cache
def work_folder():
    """A folder for the work files of all corpora, removed when the tests end."""
    return TemporaryDirectory()


def streamed(vectors, rows=0, ids=None, engine=None, **columns):
    """A corpus in parts of this many rows, or in three uneven parts."""
    x = np.asarray(vectors, dtype=np.float32)
    emb = pl.Series("emb.hashed", x, dtype=pl.Array(pl.Float32, x.shape[1]))
    frame = pl.DataFrame([pl.Series("id", ids or IDS[: len(x)]), emb]).with_columns(
        pl.Series(name, values) for name, values in columns.items()
    )
    cuts = range(rows, len(x), rows) if rows else (len(x) // 5, len(x) // 2)
    return corpus_of(frame, list(cuts), Path(mkdtemp(dir=work_folder().name)), engine)


def learned(module, corpus, **options):
    """A scorer with what it stored about all rows."""
    return with_stored(module.learn(corpus, **options), corpus)


def scored(scorer, stream, column):
    return pl.concat([scorer(part) for part in stream(scorer.needs)])[column].to_numpy()


def unit(x):
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def clumps(rows=200, width=8, groups=6, noise=0.25, seed=0):
    """Unit rows near one of a few directions, with the group of each."""
    rng = np.random.default_rng(seed)
    group = rng.integers(0, groups, rows)
    return unit(unit(rng.normal(size=(groups, width)))[group] + noise * rng.normal(size=(rows, width))), group


# ---------------------------------------------------------------- spherical k-means


@pytest.mark.parametrize("width", [1, 3, 384, 4096, 60_000])
def test_whole_vectors_have_products_that_float32_holds(width):
    x = np.random.default_rng(width).normal(size=(5, width))
    norms = (kmeans.quantise(x).astype(np.float64) ** 2).sum(axis=1)
    assert (norms <= 2**24).all() and (norms > 0.8 * kmeans.scale(width) ** 2).all()


def test_clusters_that_are_well_apart_are_found():
    x, group = clumps(groups=6, noise=0.02)
    scorer = prototypes.learn(streamed(x), k=6)
    cluster = scored(scorer, streamed(x), "cluster.prototypes")
    assert len(set(zip(group, cluster, strict=True))) == 6
    means = unit(np.stack([x[cluster == c].sum(axis=0) for c in range(6)]))
    assert scorer.centres == pytest.approx(means, abs=3e-4)
    assert scored(scorer, streamed(x), "score.prototypes") == pytest.approx(
        1 - (x.astype(float) @ means.T).max(axis=1), abs=3e-4
    )


@settings(max_examples=8)
@given(st.integers(0, 10**6), st.sampled_from(["++", "sample"]), st.sampled_from([0, 150]))
def test_centres_are_the_same_bytes_for_any_order_and_batch(seed, start, sample):
    x, _ = clumps(400, seed=seed)
    mixed = np.random.default_rng(seed).permutation(400)
    first = prototypes.learn(streamed(x), k=9, start=start, sample=sample)
    second = prototypes.learn(streamed(x[mixed], rows=37, ids=[IDS[i] for i in mixed]), k=9, start=start, sample=sample)
    assert first.centres.tobytes() == second.centres.tobytes()
    scores = [scored(first, streamed(x, rows=r), "score.prototypes").tobytes() for r in (1, 37, 400)]
    assert len(set(scores)) == 1, "a score depends on its batch"


def test_lloyd_never_loses_cosine_and_no_cluster_stays_empty():
    x, _ = clumps(500, width=6, groups=40, noise=0.4)
    source = kmeans.quantise(x)
    same = np.repeat(source[:1], 12, axis=0)  # 11 of 12 centres start empty

    def summed(centres, share):
        return kmeans.sums_of_blocks(np.split(source, 5), centres)

    runs = [kmeans.learn(summed, same, rows=500, iterations=i) for i in (1, 3, 6, 20)]
    cosines = [kmeans.nearest(x, f.centres)[1].mean() for f in runs]
    assert all(b > a - 1e-4 for a, b in pairwise(cosines))
    assert (runs[-1].counts > 0).all() and runs[-1].counts.sum() == 500


def test_the_best_of_several_starts_is_taken():
    """Three starts are learned from by hand; the chosen centres are those with the largest sum of cosines."""
    points = kmeans.quantise(clumps(300, width=5, groups=30, noise=0.3)[0])

    def summed(centres, share):
        return kmeans.sums_of_blocks([points[: round(share * 300)]], centres)

    runs = [kmeans.learn(summed, kmeans.plus_plus(points, 8, (7, i)), rows=300, iterations=10) for i in range(3)]
    totals = [kmeans.nearest(points.astype(float), run.centres)[1].sum() for run in runs]
    best = kmeans.best_start(points, 8, iterations=10, count=3, seed=7)
    assert np.array_equal(best, kmeans.quantise(runs[int(np.argmax(totals))].centres))
    assert len({round(total, 6) for total in totals}) == 3


@pytest.mark.parametrize(
    ("k", "rows", "width", "expected"),
    [(10, 1797, 64, 10), (64, 10_000, 384, 10), (200, 10_000, 384, 5), (1000, 10_000, 384, 1)],
)
def test_fewer_starts_are_compared_where_each_costs_more(k, rows, width, expected):
    assert kmeans.starts(k, rows, width, 20) == expected


def test_two_seeds_rank_digits_alike(cli, tmp_path):
    """Through the command line: one start of k-means leaves the seeds at .88."""
    from scipy.stats import spearmanr
    from sklearn.datasets import load_digits

    digits = load_digits().data.astype(np.float32)
    frame = pl.DataFrame({"id": [f"d{i}" for i in range(len(digits))]})
    frame.with_columns(pl.Series("emb.x", digits, dtype=pl.Array(pl.Float32, 64))).write_parquet(tmp_path / "a.parquet")
    scores = []
    for seed in range(4):
        out = tmp_path / f"out{seed}"
        result = cli(
            "score", tmp_path / "a.parquet", "--scorer", f"prototypes:k=10,embedding=emb.x,seed={seed}", "--out", out
        )
        assert result.code == 0, result.err
        scores.append(pl.read_parquet(out / "a.parquet.scores.parquet")["score.prototypes"].to_numpy())
    assert min(spearmanr(a, b)[0] for a, b in pairwise(scores)) > 0.99


# ---------------------------------------------------------------- classes, density, moderate


def test_class_prototypes_by_hand():
    """Class a: (1, 0) and (0, 1), mean at 45 degrees; class b alone is its own mean; a zero vector has no direction."""
    stream = streamed([[2, 0], [0, 1], [3, 4], [0, 0]], label=["a", "a", "b", "b"])
    scores = scored(class_prototypes.learn(stream), stream, "score.class_prototypes")
    assert scores == pytest.approx([1 - np.sqrt(0.5), 1 - np.sqrt(0.5), 0, 1], abs=1e-9)


def test_density_is_the_product_by_brute_force():
    x, _ = clumps(200, groups=30, noise=0.3)
    scorer = density.learn(streamed(x), k=25)
    cluster = scored(scorer, streamed(x), "cluster.density")
    centres = scorer.centres.astype(float)
    between = [np.sort(1 - centres @ c)[1:21].mean() for c in centres]
    for c in set(cluster):
        inside = (1 - x[cluster == c].astype(float) @ centres[c]).mean()
        assert scorer.worth[c] == pytest.approx(between[c] * inside, abs=2e-4)
    assert np.array_equal(scored(scorer, streamed(x), "score.density"), scorer.worth[cluster])


@pytest.mark.parametrize("by", ["class", "all"])
@pytest.mark.parametrize("rows", [200, 201])
def test_moderate_is_the_definition(by, rows, monkeypatch):
    monkeypatch.setattr(medians, "COUNTS", 2 * 7 * medians.DIGITS * 2)
    x = np.random.default_rng(3).normal(size=(rows, 7)).astype(np.float32)
    label = np.random.default_rng(4).integers(0, 3, rows)
    stream = streamed(x, label=label)
    scores = scored(moderate.learn(stream, by=by), stream, "score.moderate")
    groups = label if by == "class" else np.zeros(rows, int)
    median = np.stack([np.median(x[groups == g], axis=0) for g in groups])
    place = np.argsort(np.argsort(np.sqrt(((x.astype(float) - median) ** 2).sum(axis=1))))
    for share in (0.2, 0.5, 0.8):
        half = round(share * rows / 2) - (rows % 2) / 2  # as many ranks on both sides of the middle one
        kept = np.abs(place - (rows - 1) / 2) <= half + (0 if rows % 2 else -0.5)
        assert set(np.argsort(-scores, kind="stable")[: kept.sum()]) == set(np.flatnonzero(kept))


def test_equal_distances_share_their_mean_rank():
    stream = streamed([[0, 0], [1, 0], [-1, 0], [0, 1], [0, -1]])
    scores = scored(moderate.learn(stream, by="all"), stream, "score.moderate")
    assert scores == pytest.approx([0.2, 0.8, 0.8, 0.8, 0.8])  # ranks 1 and 2 to 5: q is .1 and .6


# ---------------------------------------------------------------- semantic duplicates


def greedy(x, order, limit):
    kept = []
    for j in order:
        if all(x[i].astype(float) @ x[j] <= limit for i in kept):
            kept.append(j)
    return kept


@pytest.mark.parametrize("order", ["hard", "easy"])
def test_semdedup_keeps_what_the_greedy_definition_keeps(order):
    x, _ = clumps(200, groups=20, noise=0.1)
    scores = scored(learned(semdedup, streamed(x), k=1, epsilon=0.1, order=order), streamed(x), "score.semdedup")
    near = kmeans.quantise(x).astype(float) @ kmeans.quantise(prototypes.learn(streamed(x), k=1).centres)[0]
    key = keys(IDS[:200], 0)
    turn = np.lexsort((key, near.astype(np.float32) if order == "hard" else -near.astype(np.float32)))
    assert sorted(greedy(x, turn, 0.9)) == np.flatnonzero(scores == 1).tolist()
    assert 20 < (scores == 1).sum() < 180


def test_the_chain_keeps_both_ends():
    angles = np.radians([0, 14.3, 28.6])
    scores = scored(
        learned(semdedup, streamed(np.stack([np.cos(angles), np.sin(angles)], axis=1)), k=1),
        streamed(np.zeros((3, 2))),
        "score.semdedup",
    )
    assert scores == pytest.approx([1, 1 - np.cos(np.radians(14.3)), 1], abs=1e-6)


@pytest.mark.parametrize("largest", [4096, 40])
def test_no_pair_is_missed_across_borders_or_splits(monkeypatch, largest):
    monkeypatch.setattr(assignment, "LARGEST", largest)
    x, _ = clumps(400, groups=15, noise=0.12)
    scorer = learned(semdedup, streamed(x), k=12, epsilon=0.1, border=1.0)
    kept = scored(scorer, streamed(x), "score.semdedup") == 1
    cosine = x.astype(float) @ x.T.astype(float) - 2 * np.eye(400)
    assert (cosine[kept][:, kept] <= 0.9 + 1e-6).all()
    assert (cosine[~kept][:, kept].max(axis=1) > 0.9 - 1e-6).all()


def test_many_copies_in_a_cluster_that_cannot_be_split(monkeypatch):
    monkeypatch.setattr(assignment, "LARGEST", 40)
    x = np.repeat(clumps(3, noise=0)[0], [150, 100, 1], axis=0)
    scores = scored(learned(semdedup, streamed(x), k=1), streamed(x), "score.semdedup")
    assert sorted(scores)[-len(np.unique(x, axis=0)) :] == [1] * len(np.unique(x, axis=0))
    assert (scores == 0).sum() == 251 - len(np.unique(x, axis=0))


def test_zero_vectors_are_like_no_other():
    x = np.concatenate([np.zeros((50, 8)), np.repeat(clumps(2, noise=0)[0], 5, axis=0)])
    scores = scored(learned(semdedup, streamed(x), k=2), streamed(x), "score.semdedup")
    assert (scores[:50] == 1).all() and (scores[50:] == 1).sum() == len(np.unique(x[50:], axis=0))


@pytest.mark.parametrize("different", [1, 2, 4])
def test_semdedup_of_rows_that_are_nearly_all_copies(different):
    """Fewer directions than the square root of the number of rows: one of each stays, and k is no one's business."""
    x = np.eye(4)[np.arange(200) % different]
    scores = scored(learned(semdedup, streamed(x)), streamed(x), "score.semdedup")
    assert sorted(scores) == [0.0] * (200 - different) + [1.0] * different


def test_semdedup_does_not_depend_on_the_order_of_rows():
    x, _ = clumps(300, groups=40, noise=0.1)
    mixed = np.random.default_rng(0).permutation(300)
    first = learned(semdedup, streamed(x), epsilon=0.1)
    second = learned(semdedup, streamed(x[mixed], rows=41, ids=[IDS[i] for i in mixed]), epsilon=0.1)
    assert first.removed.tobytes() == second.removed.tobytes() and first.scores.tobytes() == second.scores.tobytes()


# ---------------------------------------------------------------- coverage and D2


def gains_by_hand(plane, probes, near):
    expected = np.zeros(len(plane))
    for probe in probes:
        winner = int(((plane - probe) ** 2).sum(axis=1).argmin())
        around = np.argsort(((plane - plane[winner]) ** 2).sum(axis=1))[1 : near + 1]
        expected[winner] += 1
        expected[around] -= 1 / near
    return expected


@pytest.mark.parametrize("width", [3, 30])  # every plane for both halves, and random planes
def test_coverage_is_the_definition(monkeypatch, width):
    x = np.random.default_rng(1).normal(size=(200, width)).astype(np.float32)
    seen = []
    real = coverage._gains
    monkeypatch.setattr(coverage, "_gains", lambda *args: (seen.append(args[:2]), real(*args))[1])
    scorer = learned(coverage, streamed(x), planes=12, probes=50, near=3)
    expected = sum(gains_by_hand(plane, probes, 3) for plane, probes in seen) * 200 / (12 * 50)
    assert len(seen) == 12
    # the scores are in the order of the hashed ids, and the planes in the order of the rows
    assert scorer.scores == pytest.approx(expected[np.argsort(keys(IDS[:200], 0))], abs=1e-12)
    assert scorer.scores.sum() == pytest.approx(0, abs=1e-12)


def test_rows_equal_in_a_plane_share_what_chance_would_give_them():
    """Three copies lie at 0, two at 1 and one at 5, with probes at 0 and 5.

    Two rows lose for each probe.

    At 0 each copy gains 1/3 and, as the neighbour of another copy, loses 1/3. At 5 the lone row gains 1, and
    its two nearest rows, the copies at 1, lose 1/2 each.
    """
    plane = np.array([[0, 0], [0, 0], [-0.0, 0], [1, 0], [1, 0], [5, 0]], np.float32)
    gains = coverage._gains(plane, np.array([[0.1, 0], [5, 1]]), 2)
    assert gains == pytest.approx([0, 0, 0, -1 / 2, -1 / 2, 1])
    # four rows lose: two of the three copies wholly, so each copy two thirds of a quarter, and both at 1
    gains = coverage._gains(plane, np.array([[0.1, 0]]), 4)
    assert gains == pytest.approx([1 / 3 - 2 / 3 / 4] * 3 + [-1 / 4] * 2 + [0])


def test_probes_have_the_triangular_distribution():
    low, middle, high = np.array([0.0, -1]), np.array([0.0, 0.5]), np.array([1.0, 1])
    drawn = coverage._triangular(coverage._even_points(20_000, np.random.default_rng(0).random(2)), low, middle, high)
    expected = np.random.default_rng(0).triangular(low, middle, high, (200_000, 2))
    quantiles = [0.01, 0.25, 0.5, 0.75, 0.99]
    assert np.quantile(drawn, quantiles, axis=0) == pytest.approx(np.quantile(expected, quantiles, axis=0), abs=0.01)


def test_probes_are_added_until_two_halves_agree(monkeypatch):
    """With few coordinates every plane is used, and the halves soon agree. With many, a note says that chance rules."""
    x = np.random.default_rng(5).normal(size=(300, 4)).astype(np.float32)
    agreement, planes, probes = learned(coverage, streamed(x)).halves
    assert agreement >= 0.9 and planes % 12 == 0 and planes < 200 and probes == 500
    monkeypatch.setattr(coverage, "MOST_PLANES", 250)
    wide = np.random.default_rng(5).normal(size=(300, 100)).astype(np.float32)
    scorer = learned(coverage, streamed(wide))
    assert scorer.halves[0] < 0.6 and scorer.halves[1] == 250
    assert "share" in scorer.notes[0] and "chance: set planes above 250" in scorer.notes[0]


@pytest.mark.slow
def test_two_seeds_keep_nine_tenths_of_the_same_digits(cli, tmp_path):
    """Through the command line, which prints how far the halves of the probes agree, and records it."""
    from sklearn.datasets import load_digits

    digits = load_digits().data.astype(np.float32)
    frame = pl.DataFrame({"id": [f"d{i}" for i in range(len(digits))]})
    (tmp_path / "digits").mkdir()
    frame.with_columns(pl.Series("emb.x", digits, dtype=pl.Array(pl.Float32, 64))).write_parquet(
        tmp_path / "digits" / "a.parquet"
    )
    kept = []
    for seed in (1, 2):
        out = tmp_path / f"scores{seed}"
        result = cli("score", tmp_path / "digits", "--scorer", f"coverage:embedding=emb.x,seed={seed}", "--out", out)
        assert result.code == 0, result.err
        share = re.search(r"note: coverage: .*? in two independent halves. The halves share (\d+)%", result.err)
        assert int(share[1]) >= 90
        record = json.loads(next((out / "_curate" / "learned").glob("*.json")).read_text())
        assert f"share {share[1]}%" in record["notes"][0]
        scores = pl.read_parquet(out / "a.parquet.scores.parquet").sort("score.coverage", descending=True)
        kept.append(set(scores["id"].head(359)))
    assert len(kept[0] & kept[1]) >= 0.9 * 359


def test_coverage_does_not_depend_on_the_order_of_rows():
    x = np.round(np.random.default_rng(6).normal(size=(300, 5)), 1).astype(np.float32)
    mixed = np.random.default_rng(0).permutation(300)
    first = learned(coverage, streamed(x), planes=40)
    second = learned(coverage, streamed(x[mixed], rows=41, ids=[IDS[i] for i in mixed]), planes=40)
    assert first.ids.tobytes() == second.ids.tobytes() and first.scores.tobytes() == second.scores.tobytes()


@pytest.mark.parametrize("digits", [0, 6])  # many gains are equal, and hardly any
def test_the_highest_gains_are_those_of_a_sort_by_gain_and_id(digits):
    corpus = streamed(np.zeros((300, 2)))
    ids = keys(IDS[:300], 0)
    edges = np.cumsum([0, *(sum(b.height for b in part.batches(())) for part in corpus.parts)])
    for number, (low, high) in enumerate(pairwise(edges)):
        write_arrays(kept_path(corpus.folder, "ids", corpus.parts[number]), {"ids": ids[low:high]})
    gains = np.round(np.random.default_rng(digits).normal(size=300), digits)
    expected = np.zeros(300, bool)
    expected[np.lexsort((ids, -gains))[:60]] = True
    highest = coverage._highest(corpus, coverage.ProbedRows("emb.hashed", "ids", 300), gains, 60)
    assert (highest == expected).all()


def test_the_lone_row_covers_more_than_its_crowd():
    x = np.concatenate([np.random.default_rng(1).normal(size=(99, 2)) * 0.01, [[5, 5]]])
    scores = scored(learned(coverage, streamed(x), planes=5, near=5), streamed(x), "score.coverage")
    assert scores[99] > 0 > scores[:99].sum() and np.sort(scores)[-3] <= scores[99]
    copies = np.repeat([[0.0, 0], [1, 1]], 30, axis=0)
    assert learned(coverage, streamed(copies), planes=2, near=4).scores.sum() == pytest.approx(0)


def d2_by_brute_force(x, start, near, forward, reverse):
    gap = np.sqrt(((x[:, None].astype(float) - x[None]) ** 2).sum(axis=2))
    np.fill_diagonal(gap, np.inf)
    neighbour = np.argsort(gap, axis=1)[:, :near]
    x_now = np.array(
        [start[i] + sum(np.exp(-forward * gap[i, j]) * start[j] for j in neighbour[i]) for i in range(len(x))]
    )
    turn = []
    while len(turn) < len(x):
        free = [i for i in range(len(x)) if i not in turn]
        best = free[int(np.argmax(x_now[free]))]
        turn.append(best)
        for j in neighbour[best]:
            x_now[j] -= np.exp(-reverse * gap[best, j]) * x_now[best]
    return turn


@pytest.mark.parametrize("exact_rows", [20_000, 50])
def test_d2_selects_what_brute_force_selects(exact_rows, monkeypatch):
    monkeypatch.setattr(d2, "EXACT_ROWS", exact_rows)
    monkeypatch.setattr(nearest, "BLOCK", 33)
    monkeypatch.setattr(nearest, "TASK_ROWS", 600)  # three of the 14 clusters
    x, _ = clumps(200, noise=0.5)
    start = np.random.default_rng(2).random(200)
    stream = streamed(x, **{"score.prototypes": start})
    scorer = learned(d2, stream, near=5, forward=0.7, reverse=1.3, probes=14)  # of 14 clusters: all
    scores = scored(scorer, stream, "score.d2")
    assert np.argsort(-scores).tolist() == d2_by_brute_force(x, start, 5, 0.7, 1.3)


def selected_by_looking_at_all_rows(graph):
    x, turns = graph.start.copy(), np.full(len(graph.start), -1)
    for turn in range(len(x)):
        row = int(np.where(turns < 0, x, -np.inf).argmax())
        turns[row] = turn
        x[graph.neighbour[row]] -= graph.reverse[row] * x[row]
    return turns


@settings(max_examples=40)
@given(st.integers(0, 10**6), st.integers(2, 150), st.sampled_from([3, 1000]))
def test_selection_in_blocks_is_that_of_looking_at_all_rows(seed, rows, values):
    """With few values many rows are equal; strong messages make values negative, which raise their neighbours."""
    rng = np.random.default_rng(seed)
    near = min(4, rows - 1)
    neighbour = np.stack([np.delete(np.arange(rows), i)[rng.permutation(rows - 1)[:near]] for i in range(rows)])
    reverse = rng.integers(0, values, (rows, near)) / values
    graph = d2.MessageGraph(rng.integers(0, values, rows).astype(float), neighbour.astype(np.int32), reverse)
    assert d2.selection(graph).tolist() == selected_by_looking_at_all_rows(graph).tolist()


def test_d2_says_before_it_compares_rows_that_they_do_not_fit(monkeypatch):
    monkeypatch.setattr(d2, "usable_memory", lambda: 4000)
    monkeypatch.setattr(d2, "neighbours", None)
    stream = streamed(SPREAD, **{"score.prototypes": [1.0] * 30})
    with pytest.raises(SchemaError, match=r"30 rows with near=10 it needs 0\.0 GB .* lets it use 0\.0 GB. Lower near"):
        d2.learn(stream)


def test_d2_by_hand():
    """At 0, 60 and 180 degrees, gaps 1, sqrt 3, 2; difficulties 1, .9, .5.

    Forward, exp(-gap): 1 + .331, .9 + .368, .5 + .159. The first is taken; reverse, all of it: .9 + .368 - 1.331 < 0.
    """
    angles = np.radians([0, 60, 180])
    stream = streamed(np.stack([np.cos(angles), np.sin(angles)], axis=1), **{"score.prototypes": [1.0, 0.9, 0.5]})
    scores = scored(learned(d2, stream, near=1, reverse=0.0), stream, "score.d2")
    assert scores == pytest.approx([1, 1 / 3, 2 / 3])


# ---------------------------------------------------------------- bad input


ONES, ZEROS = np.ones((30, 4)), np.zeros((30, 4))
SPREAD = np.random.default_rng(0).normal(size=(30, 4))
LABELS = {"label": ["a", "b", None] * 10}


@pytest.mark.parametrize(
    ("learn", "rows", "options", "columns", "message"),
    [
        (prototypes.learn, SPREAD, {"k": 31}, {}, "prototypes: k=31 centres need 31 rows; there are 30"),
        (
            prototypes.learn,
            ONES,
            {"k": 2},
            {},
            r"prototypes: k=2 centres .* the 30 rows that were looked at have 1 .* Lower k",
        ),
        (prototypes.learn, ONES, {"k": 2, "start": "sample"}, {}, "the 30 rows that were looked at have 1"),
        (prototypes.learn, ZEROS, {"k": 1}, {}, "have 0 .a zero vector has none"),
        (prototypes.learn, SPREAD, {"k": 0}, {}, "k=0 and iterations=20 must be at least 1"),
        (prototypes.learn, SPREAD, {"k": 2, "starts": -1}, {}, "starts=-1 at least 0"),
        (prototypes.learn, SPREAD, {"start": "far", "k": 2}, {}, r"start=far must be \+\+ or sample"),
        (density.learn, SPREAD, {"k": 1}, {}, "density: k=1 clusters have no distance"),
        (class_prototypes.learn, SPREAD, {}, LABELS, "class_prototypes: label is null in 2 rows .* id 'r2'"),
        (class_prototypes.learn, SPREAD, {}, {"label": ["a"] * 30}, "every row has the label 'a'; it needs two"),
        (moderate.learn, SPREAD, {}, LABELS, "moderate: label is null"),
        (moderate.learn, SPREAD, {"by": "source"}, {}, "by=source must be class or all"),
        (semdedup.learn, SPREAD, {"epsilon": 1.5}, {}, "epsilon=1.5 must be between 0 and 1"),
        (semdedup.learn, ZEROS, {}, {}, "semdedup: k=1 centres need 1 different directions"),
        (coverage.learn, ONES, {}, {}, "coverage: 0 of 4 coordinates .* vary over 30 rows"),
        (coverage.learn, SPREAD, {"planes": 1}, {}, "planes=1 must be 0 or at least 2"),
        (coverage.learn, SPREAD, {"near": 30}, {}, "near=30 neighbours need more than 30 rows; the data has 30"),
        (d2.learn, SPREAD, {"near": 30}, {"score.prototypes": [1.0] * 30}, "near=30 neighbours"),
        (d2.learn, SPREAD, {}, {"score.prototypes": [1.0] * 29 + [-1.0]}, "d2: score.prototypes of id 'r29' is -1.0"),
        (d2.learn, SPREAD, {}, {"score.prototypes": [1.0] * 29 + [1e201]}, r"is 1e\+201; .* from 0 to 1e\+200"),
        (d2.learn, SPREAD, {"reverse": float("nan")}, {"score.prototypes": [1.0] * 30}, "reverse=nan finite"),
    ],
)
def test_bad_input_is_one_clear_line(learn, rows, options, columns, message):
    with pytest.raises(SchemaError, match=message) as caught:
        learn(streamed(rows, **columns), **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("learn", [semdedup.learn, coverage.learn, d2.learn])
def test_ids_that_repeat_are_named(learn):
    stream = streamed(SPREAD, ids=["x", "x", *IDS[:28]], **{"score.prototypes": [1.0] * 30})
    with pytest.raises(SchemaError, match="share their id with another row, such as 'x'"):
        learn(stream)


def test_a_label_that_was_not_learned_is_named():
    scorer = class_prototypes.learn(streamed(SPREAD, label=["a", "b"] * 15))
    with pytest.raises(SchemaError, match="label 'abc' is not among the 2 learned"):
        scored(scorer, streamed(SPREAD[:2], label=["a", "abc"]), "score.class_prototypes")


def test_all_rows_alike_are_scored_where_that_has_a_meaning():
    stream = streamed(ONES, label=["a", "b"] * 15)
    for name, scorer in (
        ("prototypes", prototypes.learn(stream, k=1)),
        ("class_prototypes", class_prototypes.learn(stream)),
    ):
        assert scored(scorer, stream, f"score.{name}") == pytest.approx(0, abs=1e-6)
    assert sorted(scored(learned(semdedup, stream, k=1), stream, "score.semdedup")) == [0] * 29 + [1]
    assert scored(moderate.learn(stream), stream, "score.moderate") == pytest.approx(1)


def test_every_scorer_of_clusters_numbers_them_as_int32():
    for name in open_sets.names("scorers"):
        schema = getattr(open_sets.implementation("scorers", name), "schema", {})
        for column, kind in schema.items() if isinstance(schema, dict) else ():
            assert not column.startswith("cluster.") or kind == pl.Int32()


# ---------------------------------------------------------------- vectors in fixed-size binary


def test_float16_in_binary_through_the_command_line(cli, tmp_path):
    """It gives the scores of float32 where --dtype or the metadata says so; otherwise one line refuses it."""
    x = clumps(60)[0]

    def write(name, numbers, metadata=None):
        values = [row.tobytes() for row in x.astype(numbers)]
        kind = pa.binary(len(values[0]))
        schema = pa.schema([pa.field("id", pa.string()), pa.field("emb.x", kind, metadata=metadata)])
        (tmp_path / name).mkdir()
        pq.write_table(pa.table([IDS[:60], pa.array(values, kind)], schema=schema), tmp_path / name / "a.parquet")
        return tmp_path / name

    def scores(data, *words):
        out = tmp_path / f"scores-{data.name}{len(words)}"
        result = cli("score", data, "--scorer", "prototypes:k=3,embedding=emb.x", "--out", out, *words)
        assert result.code == 0, result.err
        return pl.read_parquet(out / "a.parquet.scores.parquet")["score.prototypes"].to_numpy()

    right = scores(write("single", "float32"))
    assert scores(write("marked", "float16", {"dtype": "float16"})) == pytest.approx(right, abs=1e-3)
    half = write("half", "float16")
    assert scores(half, "--dtype", "float16") == pytest.approx(right, abs=1e-3)
    encoder = "embedding:encoder=precomputed,dtype=float16,path=" + str(half)
    for words in (
        ("score", half, "--scorer", "prototypes:k=3,embedding=emb.x", "--out", tmp_path / "refused"),
        ("describe", half, "--embedding", "emb.x"),
        ("score", half, "--scorer", encoder.replace("dtype=float16,", ""), "--out", tmp_path / "refused"),
    ):
        result = cli(*words)
        messages = [line for line in result.err.splitlines() if line.startswith("curate: ")]
        assert result.code == 1 and len(messages) == 1, result.err
        assert "emb.x is fixed-size binary of 16 bytes, which may be 8 float16 or 4 float32" in messages[0]
    assert cli("describe", half, "--embedding", "emb.x", "--dtype", "float16").code == 0
    assert cli("score", half, "--scorer", encoder, "--out", tmp_path / "encoded").code == 0
    encoded = pl.read_parquet(tmp_path / "encoded" / "a.parquet.scores.parquet")["emb.precomputed"]
    vectors = encoded.bin.reinterpret(dtype=pl.Array(pl.Float32, 8)).to_numpy()
    assert vectors == pytest.approx(x, abs=1e-3)
