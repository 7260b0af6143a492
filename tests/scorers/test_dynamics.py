"""Metrics of training dynamics against cases worked by hand and brute force; what the data answers; bad input."""

import json
import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from corpora import corpus_of_parts
from hypothesis import given, settings
from hypothesis import strategies as st

from curate import open_sets
from curate.errors import CurateError, SchemaError
from curate.scorers import dynamics, influence, label_quality
from curate.scoring import score

NAMES = ("el2n", "forgetting", "aum", "cartography", "dichotomy", "disagreement", "rho")


def lists(name, values):
    return pl.Series(name, np.asarray(values, np.float64), dtype=pl.Array(pl.Float64, np.shape(values)[1]))


def frame(epochs, labels, kind="probs"):
    """(t, n, c) outputs and n labels as examples."""
    columns = [lists(f"{kind}.{t}", values) for t, values in enumerate(epochs)]
    return pl.DataFrame([pl.Series("id", [f"d{i}" for i in range(len(labels))]), pl.Series("label", labels), *columns])


def drawn(t=4, n=30, c=3, seed=0):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(t, n, c)) * 2
    return logits, np.exp(logits) / np.exp(logits).sum(axis=2, keepdims=True), rng.integers(0, c, n)


def scores(spec, rows):
    columns = open_sets.build("scorers", spec)(rows)
    return columns.to_series().to_list() if columns.width == 1 else columns


def named(t):
    return "epochs=" + "+".join(map(str, range(t)))


# ---------------------------------------------------------------- by hand

SURE, UNSURE, WRONG = [0.8, 0.1, 0.1], [0.4, 0.5, 0.1], [0.1, 0.9, 0.0]  # label 0


def test_el2n_by_hand():
    rows = frame([[SURE, UNSURE], [WRONG, WRONG]], [0, 0])
    by_hand = [math.sqrt(0.04 + 0.01 + 0.01), math.sqrt(0.36 + 0.25 + 0.01), math.sqrt(0.81 + 0.81)]
    assert scores("el2n:epochs=0", rows) == pytest.approx(by_hand[:2])
    assert scores("el2n:epochs=0+1", rows) == pytest.approx([(x + by_hand[2]) / 2 for x in by_hand[:2]])
    impossible = frame([[[0.0, 1.0]]], [0])
    assert scores("el2n", impossible) == pytest.approx([math.sqrt(2)])


def test_grand_is_el2n_times_the_length_of_the_features_and_a_one():
    rows = frame([[SURE, UNSURE]], [0, 1]).with_columns(lists("emb.hashed", [[3.0, 4.0], [0.0, 0.0]]))
    errors = scores("el2n", rows)
    assert scores("grand", rows) == pytest.approx([errors[0] * math.sqrt(26), errors[1]])


def test_grand_is_the_norm_of_the_gradient_by_finite_differences():
    rng = np.random.default_rng(0)
    x, weights, label, step = rng.normal(size=4), rng.normal(size=(5, 3)), 2, 1e-6

    def loss(w):
        z = np.append(x, 1) @ w
        return np.log(np.exp(z).sum()) - z[label]

    gradient = [
        (loss(weights + step * unit) - loss(weights - step * unit)) / (2 * step)
        for unit in np.eye(15).reshape(15, 5, 3)
    ]
    rows = frame([[np.append(x, 1) @ weights]], [label], "logits").with_columns(lists("emb.hashed", [x]))
    assert scores("grand:logits=true", rows) == pytest.approx([np.linalg.norm(gradient)], rel=1e-6)


@pytest.mark.parametrize(
    ("right", "events"),
    [("1111", 0), ("0000", 4), ("0001", 0), ("1000", 1), ("1010", 2), ("0110", 1), ("0101", 1)],
)
def test_forgetting_counts_right_then_wrong_and_never_right_is_most(right, events):
    rows = frame([[[0.9, 0.1] if r == "1" else [0.1, 0.9]] for r in right], [0])
    assert scores(f"forgetting:{named(4)}", rows) == [events]
    assert scores("dichotomy:" + named(4), rows) == [right.count("0") / 4]
    assert scores("cartography:" + named(4), rows)["score.cartography_correctness"][0] == right.count("1")


def test_forgetting_takes_epochs_in_the_order_named():
    rows = frame([[[0.9, 0.1]], [[0.1, 0.9]]], [0])
    assert scores("forgetting:epochs=0+1", rows) == [1]
    assert scores("forgetting:epochs=1+0", rows) == [0]


def test_a_tie_between_classes_is_not_right():
    assert scores("dichotomy", frame([[[0.5, 0.5], [0.5, 0.5]]], [0, 1])) == [1, 1]


def test_aum_by_hand_low_is_mislabelled():
    rows = frame([[[5.0, 1.0, 2.0], [0.0, 4.0, 1.0]], [[7.0, 8.0, 0.0], [0.0, 6.0, 1.0]]], [0, 0], "logits")
    assert scores("aum:epochs=0+1", rows) == [(3 - 1) / 2, (-4 - 6) / 2]


def test_aum_of_probabilities_is_that_of_their_logits():
    logits, probs, labels = drawn()
    of_logits = scores(f"aum:{named(4)}", frame(logits, labels, "logits"))
    assert scores(f"aum:{named(4)},logits=false", frame(probs, labels)) == pytest.approx(of_logits, abs=1e-9)
    assert np.isfinite(scores("aum:logits=false", frame([[[0.0, 1.0]]], [0]))).all()


def test_cartography_by_hand():
    row_scores = scores("cartography:epochs=0+1", frame([[SURE], [WRONG]], [0]))
    assert row_scores.row(0) == pytest.approx((0.45, 0.35, 1))


def test_disagreement_by_hand():
    same, split = [[[0.9, 0.1]], [[0.9, 0.1]]], [[[1.0, 0.0]], [[0.0, 1.0]]]
    for by in ("information", "variation"):
        assert scores(f"disagreement:epochs=0+1,by={by}", frame(same, [0])) == pytest.approx([0], abs=1e-12)
    assert scores("disagreement:epochs=0+1", frame(split, [0])) == pytest.approx([math.log(2)])
    assert scores("disagreement:epochs=0+1,by=variation", frame(split, [0])) == [0.5]
    with pytest.raises(SchemaError, match="by=votes must be"):
        open_sets.build("scorers", "disagreement:by=votes")


def test_rho_is_the_loss_that_the_reference_does_not_have():
    rows = frame([[SURE, WRONG], [WRONG, SURE]], [0, 0])
    assert scores("rho:epochs=0+1", rows) == pytest.approx([-math.log(0.8 / 0.1), math.log(0.8 / 0.1)])
    with pytest.raises(SchemaError, match="rho: epochs=3 must name two models"):
        _ = open_sets.build("scorers", "rho:epochs=3").needs


# ---------------------------------------------------------------- brute force


@settings(max_examples=10)
@given(t=st.integers(1, 5), c=st.integers(2, 5), seed=st.integers(0, 10**6))
def test_every_metric_is_its_definition_row_by_row(t, c, seed):
    logits, probs, labels = drawn(t, 7, c, seed)
    rows = frame(probs, labels)
    for i, y in enumerate(labels):
        p, z = probs[:, i], logits[:, i]
        right = [p[s].argmax() == y for s in range(t)]
        events = sum(a and not b for a, b in zip(right, right[1:], strict=False)) if any(right) else t
        mean = p.mean(axis=0)
        entropy = -(mean * np.log(mean)).sum() + (p * np.log(p)).sum() / t
        votes = np.bincount(p.argmax(axis=1), minlength=c).max() / t
        expected = {
            "el2n": np.mean([np.linalg.norm(p[s] - np.eye(c)[y]) for s in range(t)]),
            "forgetting": events,
            "dichotomy": 1 - np.mean(right),
            "disagreement": entropy,
            "aum:logits=false": np.mean([z[s, y] - max(z[s, k] for k in range(c) if k != y) for s in range(t)]),
        }
        for spec, value in expected.items():
            joined = f"{spec}{',' if ':' in spec else ':'}{named(t)}"
            assert scores(joined, rows[i : i + 1]) == pytest.approx([value], abs=1e-9)
        assert scores(f"disagreement:by=variation,{named(t)}", rows[i : i + 1]) == pytest.approx([1 - votes])
        row_scores = scores(f"cartography:{named(t)}", rows[i : i + 1]).row(0)
        assert row_scores == pytest.approx((p[:, y].mean(), p[:, y].std(), sum(right)), abs=1e-9)


@pytest.mark.parametrize("name", [n for n in NAMES if n != "aum"])
def test_logits_give_what_their_probabilities_give(name):
    logits, probs, labels = drawn()
    of_probabilities = open_sets.build("scorers", f"{name}:{named(4)}")(frame(probs, labels))
    of_logits = open_sets.build("scorers", f"{name}:{named(4)},logits=true")(frame(logits, labels, "logits"))
    assert np.allclose(of_probabilities.to_numpy(), of_logits.to_numpy(), atol=1e-9)


# ---------------------------------------------------------------- memorization, influence


def runs(n=9, q=5, m=12, seed=0):
    rng = np.random.default_rng(seed)
    member = rng.random((n, m)) < 0.7
    member[0], member[1] = True, False  # no estimate
    return member, rng.random((n, m)) < 0.6, rng.random((q, m)) < 0.5


def held(member, right=None):
    columns = {
        "id": [f"d{i}" for i in range(len(member))],
        "member": pl.Series(member.tolist(), dtype=pl.List(pl.Boolean)),
    }
    return pl.DataFrame(columns | ({} if right is None else {"correct": right.tolist()}))


def effect(member, right):
    """Feldman and Zhang's estimate for one row and one test row."""
    with_it, without = right[member], right[~member]
    return with_it.mean() - without.mean() if len(with_it) and len(without) else 0.0


def test_memorization_is_right_with_minus_right_without():
    member, right, _ = runs()
    expected = [effect(member[i], right[i]) for i in range(len(member))]
    assert expected[:2] == [0, 0]
    assert scores("memorization", held(member, right)) == pytest.approx(expected)
    learned_by_heart = np.array([[1, 1, 0, 0]], bool)
    assert scores("memorization", held(learned_by_heart, learned_by_heart)) == [1]


@pytest.mark.parametrize("block", [2, 1024])
def test_influence_by_brute_force_whatever_the_block(tmp_path, monkeypatch, block):
    monkeypatch.setattr(influence, "TESTS", block)
    member, _, tests = runs()
    pl.DataFrame({"correct": tests.astype(int).tolist()}).write_parquet(tmp_path / "test.parquet")
    rows = held(member)
    scorer = influence.learn(corpus_of_parts(rows), target=str(tmp_path / "test.parquet"))
    effects = np.array([[effect(member[i], tests[j]) for j in range(len(tests))] for i in range(len(member))])
    influences = scorer(rows)
    assert influences["score.influence_max"].to_list() == pytest.approx(effects.max(axis=1))
    assert influences["score.influence_sum"].to_list() == pytest.approx(np.abs(effects).sum(axis=1))


def test_models_that_do_not_match_are_one_clear_line(tmp_path):
    member, right, tests = runs()
    with pytest.raises(SchemaError, match="member has 12 models and correct 11"):
        scores("memorization", held(member, right[:, :11]))
    with pytest.raises(SchemaError, match="numbers other than 0 and 1 in 9 rows of a batch, the first with id 'd0'"):
        scores("memorization", held(member, np.full(member.shape, 2)))
    with pytest.raises(SchemaError, match="influence has no target"):
        influence.learn(corpus_of_parts())
    pl.DataFrame({"correct": tests[:, :3].tolist()}).write_parquet(tmp_path / "t.parquet")
    scorer = influence.learn(corpus_of_parts(held(member)), target=str(tmp_path / "t.parquet"))
    with pytest.raises(SchemaError, match="member has 12 models and the target's correct 3"):
        scorer(held(member))


# ---------------------------------------------------------------- label quality


def test_the_confident_joint_by_hand():
    """Thresholds: class 0 mean(.9, .6, .2) = .5667, class 1 mean(.8, .7) = .75."""
    p = [[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.2, 0.8], [0.3, 0.7]]
    rows = frame([p], [0, 0, 0, 1, 1])
    scorer = label_quality.learn(corpus_of_parts(rows[:2], rows[2:]))
    assert scorer.thresholds == pytest.approx([1.7 / 3, 0.75])
    assert scorer.joint.tolist() == [[2, 1], [0, 1]]  # the last row is confidently nothing
    quality = scorer(rows)
    assert quality["score.label_joint"].to_list() == [1, 1, 0, 1, 1]
    assert quality["score.label_quality"].to_list() == pytest.approx([0.8, 0.2, -0.6, 0.6, 0.4])
    alone = label_quality.learn(corpus_of_parts(rows), by="self_confidence")(rows)
    assert alone["score.label_quality"].to_list() == pytest.approx([0.9, 0.6, 0.2, 0.8, 0.7])


def test_a_class_without_rows_is_never_confident():
    rows = frame([[[0.5, 0.1, 0.4], [0.2, 0.3, 0.5]]], [0, 1])
    scorer = label_quality.learn(corpus_of_parts(rows))
    assert np.isinf(scorer.thresholds[2])
    assert scorer.joint[:, 2].sum() == 0
    assert np.isfinite(scorer(rows).to_numpy()).all()


def test_the_joint_by_brute_force():
    _, probs, labels = drawn(2, 200, 4)
    rows = frame(probs, labels)
    scorer = label_quality.learn(corpus_of_parts(rows), epochs="0+1")
    p = probs.mean(axis=0)
    thresholds = [p[labels == k, k].mean() for k in range(4)]
    joint = np.zeros((4, 4), int)
    for row, label in zip(p, labels, strict=True):
        above = [k for k in range(4) if row[k] >= thresholds[k]]
        if above:
            joint[label, max(above, key=lambda k: row[k])] += 1
    assert scorer.thresholds == pytest.approx(thresholds)
    assert scorer.joint.tolist() == joint.tolist()
    assert (scorer(rows)["score.label_joint"] == 0).sum() == joint.sum() - joint.trace()


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (frame([[SURE, [0.9, 0.9, 0.9]]], [0, 0]), r"probs.0 holds no probabilities in 1 rows .* id 'd1' \(sum 2.7"),
        (frame([[SURE, [1.2, -0.2, 0.0]]], [0, 0]), r"id 'd1' \(sum 1, smallest -0.2\)"),
        (frame([[SURE, [math.nan, 0.5, 0.5]]], [0, 0]), "probs.0 is NaN, infinite or null in 1 rows .* id 'd1'"),
        (frame([[SURE, UNSURE]], [0, 3]), "label 3 is outside the 3 classes .* 0 to 2, the first with id 'd1'"),
        (frame([[SURE, UNSURE]], [-1, 0]), "label -1 is outside"),
        (frame([[SURE, UNSURE]], [0.5, 0]), "label 0.5 is outside"),
        (frame([[SURE, UNSURE]], [0, None]), "label is null in 1 rows .* id 'd1'"),
        (frame([[SURE, UNSURE]], ["cat", "dog"]), "label is String, such as 'cat'. Name the classes .* classes=a\\+b"),
        (frame([[[1.0], [1.0]]], [0, 0]), "probs.0 has 1 numbers in each row; it needs at least 2"),
        (
            frame([[SURE, UNSURE]], [0, 0]).with_columns(pl.Series("probs.0", [SURE, [0.5, 0.5]])),
            "probs.0 has lists of 2 and of 3 numbers, the first with id 'd1'",
        ),
        (frame([[SURE]], [0]).with_columns(pl.Series("probs.0", [0.3])), "probs.0 is Float64. It must be a list"),
        (frame([[SURE]], [0]).with_columns(pl.Series("probs.0", [None], pl.List(pl.Float64))), "probs.0 is null in 1"),
    ],
)
@pytest.mark.parametrize("name", ["el2n", "cartography", "label_quality"])
def test_bad_rows_are_one_clear_line(name, rows, message):
    with pytest.raises(SchemaError, match=message) as caught:
        if name == "label_quality":
            label_quality.learn(corpus_of_parts(rows))
        scores(name, rows)
    assert "\n" not in str(caught.value)


def test_logits_that_are_not_finite_are_refused():
    rows = frame([[[1.0, math.inf]]], [0], "logits")
    with pytest.raises(
        SchemaError, match="logits.0 is NaN, infinite or null in 1 rows of a batch, the first with id 'd0'"
    ):
        scores("aum", rows)


@pytest.mark.parametrize("epochs", ["a", "0-3", "1+1", "0+"])
def test_epochs_that_mean_nothing_are_refused(epochs):
    with pytest.raises(SchemaError, match="must be different whole numbers joined by"):
        _ = open_sets.build("scorers", f"el2n:epochs={epochs}").needs


def test_learners_need_rows_of_two_classes():
    rows = frame([[SURE, UNSURE]], [0, 0]).with_columns(lists("emb.hashed", [[1.0, 0.0], [0.0, 1.0]]))
    with pytest.raises(SchemaError, match="2 rows of 1 classes"):
        label_quality.learn(corpus_of_parts(rows))
    with pytest.raises(SchemaError, match="2 rows of 1 classes"):
        dynamics.learn(corpus_of_parts(rows))


# ---------------------------------------------------------------- class names


def test_text_labels_are_places_among_the_named_classes():
    by_number = scores("el2n", frame([[SURE, UNSURE]], [0, 1]))
    for classes, labels in (("cat+dog+eel", ["cat", "dog"]), ("a%2Bb+c%2C+d", ["a+b", "c,"]), ("3+5+9", [3, 5])):
        assert scores(f"el2n:classes={classes}", frame([[SURE, UNSURE]], labels)) == by_number
    with pytest.raises(SchemaError, match="label 'cow' is not among the classes cat, dog, eel, the first with id 'd0'"):
        scores("el2n:classes=cat+dog+eel", frame([[SURE]], ["cow"]))
    with pytest.raises(
        SchemaError, match="label has 2 classes .cat, dog. and the columns have 3. Name all 3 in the order"
    ):
        scores("el2n:classes=cat+dog", frame([[SURE]], ["cat"]))


# ---------------------------------------------------------------- a classifier learned here


def embedded(n=400, c=3, d=8, wrong=40, seed=0):
    """Clouds of one class each; the first ``wrong`` rows have another class's label."""
    rng = np.random.default_rng(seed)
    truth = np.arange(n) % c
    x = rng.normal(size=(n, d)) + 3 * np.eye(c, d)[truth]
    given_labels = np.where(np.arange(n) < wrong, (truth + 1) % c, truth)
    return pl.DataFrame(
        {
            "id": [f"d{i}" for i in range(n)],
            "label": given_labels,
            "emb.hashed": pl.Series(x.astype(np.float32), dtype=pl.Array(pl.Float32, d)),
        }
    )


def area(bad, badness):
    """Chance that a bad row ranks above a good one."""
    return np.mean(badness[bad][:, None] > badness[~bad][None]) + np.mean(badness[bad][:, None] == badness[~bad]) / 2


def test_dynamics_learned_from_embeddings_find_wrong_labels():
    rows = embedded()
    with_logits = rows.hstack(dynamics.learn(corpus_of_parts(rows), checkpoints=5)(rows))
    bad = np.arange(rows.height) < 40
    areas = {
        "el2n": area(bad, np.array(scores(f"el2n:logits=true,{named(5)}", with_logits))),
        "aum": area(bad, -np.array(scores(f"aum:{named(5)}", with_logits))),
        "forgetting": area(bad, np.array(scores(f"forgetting:logits=true,{named(5)}", with_logits))),
    }
    assert min(areas["el2n"], areas["aum"]) > 0.97, areas
    assert areas["forgetting"] > 0.85, areas


def test_the_last_checkpoint_is_near_the_regression_that_converged():
    from sklearn.linear_model import LogisticRegression

    rows = embedded(n=600)
    x, y = rows["emb.hashed"].to_numpy(), rows["label"].to_numpy()
    scorer = dynamics.learn(corpus_of_parts(rows), checkpoints=300, batch=600, rate=0.03)
    z = scorer(rows)["logits.299"].to_numpy().astype(float)
    loss = np.mean(np.log(np.exp(z).sum(axis=1)) - z[np.arange(len(y)), y])
    best = -np.log(LogisticRegression(C=1e4, max_iter=2000).fit(x, y).predict_proba(x)[np.arange(len(y)), y]).mean()
    assert best - 1e-6 < loss < best + 1e-3


def test_folds_leave_a_row_out_of_the_model_that_scores_it():
    rows = embedded(n=120, d=4)
    target = rows["id"][7]
    own_fold = int(dynamics.fold(rows["id"], 3)[7])
    turned = rows.with_columns(label=pl.when(pl.col("id") == target).then((pl.col("label") + 1) % 3).otherwise("label"))
    first, second = (dynamics.learn(corpus_of_parts(x), folds=3) for x in (rows, turned))
    assert (first.weights[own_fold] == second.weights[own_fold]).all()
    assert all((first.weights[k] != second.weights[k]).any() for k in range(3) if k != own_fold)
    assert first(rows)[7].equals(second(rows)[7])


def test_a_class_that_the_sample_misses_still_has_its_place():
    rows = embedded(n=300)
    rare = rows.with_columns(label=pl.when(pl.col("id") == "d299").then(7).otherwise("label"))
    scorer = dynamics.learn(corpus_of_parts(*rare.iter_slices(100)), sample=20, checkpoints=1)
    assert scorer(rare)["logits.0"].dtype.shape == (8,)
    with pytest.raises(SchemaError, match="label 99999 is taken as one of 100000 classes"):
        dynamics.learn(corpus_of_parts(rows.with_columns(label=pl.lit(99_999))))


def test_files_may_store_labels_in_different_types():
    rows = embedded()
    halves = rows[:150], rows[150:].with_columns(pl.col("label").cast(pl.Int8))
    learned = dynamics.learn(corpus_of_parts(*halves), sample=100, checkpoints=2)
    assert (
        learned.weights.tobytes() == dynamics.learn(corpus_of_parts(rows), sample=100, checkpoints=2).weights.tobytes()
    )


def test_the_sample_bounds_what_is_learned_from_in_any_order():
    rows = embedded(n=300)
    first = dynamics.learn(corpus_of_parts(rows), sample=50, checkpoints=2)
    second = dynamics.learn(corpus_of_parts(*rows[::-1].iter_slices(7)), sample=50, checkpoints=2)
    assert first.weights.tobytes() == second.weights.tobytes()
    assert first.weights.tobytes() != dynamics.learn(corpus_of_parts(rows), checkpoints=2).weights.tobytes()


# ---------------------------------------------------------------- a job


@pytest.fixture
def data(tmp_path):
    """Two files with text labels, embeddings, and probabilities of three epochs, in the order eel, ape, cat."""
    _, probs, labels = drawn(3, 80)
    rng = np.random.default_rng(1)
    names = np.array(["eel", "ape", "cat"])[labels]
    rows = frame(probs, names).with_columns(lists("emb.x", rng.normal(size=(80, 5)) + np.eye(3, 5)[labels]))
    (tmp_path / "data").mkdir()
    rows[:50].write_parquet(tmp_path / "data" / "0.parquet")
    rows[50:].write_parquet(tmp_path / "data" / "1.parquet")
    return tmp_path / "data"


def read(out):
    return pl.read_parquet(out / "*.scores.parquet")


def test_epochs_that_are_not_named_are_all_there_are(data, tmp_path):
    classes = "classes=eel+ape+cat"
    score.score([str(data)], (f"el2n:{classes}", f"forgetting:epochs=0+2,{classes}"), tmp_path / "out")
    rows = pl.read_parquet(data / "*.parquet")
    written = read(tmp_path / "out")
    assert written["score.el2n"].to_list() == scores(f"el2n:{named(3)},{classes}", rows)
    assert written["score.forgetting"].to_list() == scores(f"forgetting:epochs=0+2,{classes}", rows)
    assert score.score([str(data)], (f"el2n:{classes}", f"forgetting:epochs=0+2,{classes}"), tmp_path / "out").rows == 0


def test_text_labels_are_sorted_unless_classes_are_named(data, tmp_path):
    score.score([str(data)], ("el2n",), tmp_path / "out")
    rows = pl.read_parquet(data / "*.parquet")
    assert read(tmp_path / "out")["score.el2n"].to_list() == scores(f"el2n:{named(3)},classes=ape+cat+eel", rows)


def test_dynamics_make_the_columns_that_later_scorers_read(data, tmp_path):
    specs = ("dynamics:embedding=emb.x,checkpoints=4,folds=2", "aum", "el2n:epochs=0", "label_quality", "rho")
    score.score([str(data)], specs, tmp_path / "out")
    written = read(tmp_path / "out")
    assert [c for c in written.columns if c.startswith("logits.")] == [f"logits.{t}" for t in range(4)]
    labels = pl.read_parquet(data / "*.parquet").select("id", "label")
    with_labels = written.join(labels, on="id", maintain_order="left")
    assert written["score.aum"].to_list() == scores(f"aum:{named(4)},classes=ape+cat+eel", with_labels)
    assert written["score.el2n"].to_list() == scores("el2n:epochs=0,logits=true,classes=ape+cat+eel", with_labels)
    assert written["score.rho"].to_list() == scores(f"rho:{named(4)},logits=true,classes=ape+cat+eel", with_labels)


@pytest.mark.parametrize(
    ("drop", "specs", "message"),
    [
        (["label"], ("el2n",), "has no column 'label'; it has .*leave out the scorer that reads it"),
        (["label"], ("length", "label_quality"), "has no column 'label'"),
        (["label"], ("dynamics:embedding=emb.x", "disagreement"), "has no column 'label'"),
        (["emb.x"], ("dynamics:embedding=emb.x", "aum"), "has no column 'emb.x'"),
        (
            ["probs.0", "probs.1", "probs.2"],
            ("aum",),
            r"scorer aum reads columns logits or probs\.<epoch>, and the data",
        ),
        ([], ("aum:logits=true",), r"reads columns logits\.<epoch>, and the data has none"),
        ([], ("el2n:epochs=0+7",), r"has no column 'probs\.7'"),
        ([], ("memorization",), "has no column 'member'"),
    ],
)
def test_what_is_missing_is_said_before_the_job_starts(data, tmp_path, drop, specs, message):
    for path in data.iterdir():
        pl.read_parquet(path).with_columns(text=pl.lit("x")).drop(drop).write_parquet(path)
    with pytest.raises(CurateError, match=message) as caught:
        score.score([str(data)], specs, tmp_path / "out", on_error="quarantine")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_file_without_labels_is_set_aside_with_the_reason(data, tmp_path):
    path = data / "1.parquet"
    pl.read_parquet(path).drop("label").write_parquet(path)
    done = score.score([str(data)], ("el2n:classes=eel+ape+cat",), tmp_path / "out", on_error="quarantine")
    assert done.rows == 50
    assert "has no column 'label'" in done.quarantined["1.parquet"]


# ---------------------------------------------------------------- real label errors

PUBLIC = Path(__file__).parents[3] / "shared" / "data" / "label_errors"


@pytest.mark.skipif(not PUBLIC.exists(), reason="no ../shared/data/label_errors: public predictions and raters' votes")
@pytest.mark.parametrize(
    ("name", "errors", "el2n", "margin", "joint"),
    [
        ("cifar10", 54, 0.9908, 0.9908, 0.9346),
        ("mnist", 15, 0.9976, 0.9976, 0.7329),
        ("20news", 82, 0.9976, 0.9993, 0.7429),
    ],
)
def test_human_verified_label_errors_are_found(name, errors, el2n, margin, joint):
    """AUC as cleanlab 2.9.0 has them for margin and confident learning (benchmarks/scorers/label_errors.py)."""
    p = np.load(PUBLIC / f"{name}_test_set_pyx.npy")
    rows = frame([p], np.load(PUBLIC / f"{name}_test_set_original_labels.npy").astype(np.int64))
    votes = json.loads((PUBLIC / f"{name}_mturk.json").read_text())
    bad = np.zeros(len(p), dtype=bool)
    bad[[row["id"] for row in votes if row["mturk"]["given"] < 3]] = True
    assert bad.sum() == errors
    quality = label_quality.learn(corpus_of_parts(*rows.iter_slices(999)))(rows)
    orders = [scores("el2n", rows), -quality["score.label_quality"], -quality["score.label_joint"]]
    assert [round(area(bad, np.array(values)), 4) for values in orders] == [el2n, margin, joint]
