"""Near copies among rows in clusters: the same for any parts and engine; borders, killed jobs and files added later."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from corpora import corpus_of, stored_arrays, with_stored
from hypothesis import given
from hypothesis import strategies as st

from curate.engines.local import Local
from curate.scorers import semdedup
from curate.streaming.vectors import near_copies, thinning
from curate.streaming.vectors.border_conflicts import refused
from curate.tables.corpus import FramePart


def example(rows: int = 600, groups: int = 40, noise: float = 0.1, first: int = 0) -> pl.DataFrame:
    """Unit rows near one of some directions, many of them nearly alike."""

    def unit(x):
        return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)

    rng = np.random.default_rng(5)
    centres = unit(rng.normal(size=(groups, 8)))
    rng = np.random.default_rng(first)
    x = unit(centres[rng.integers(0, groups, rows)] + noise * rng.normal(size=(rows, 8)))
    ids = pl.Series("id", [f"r{first + i}" for i in range(rows)])
    return pl.DataFrame([ids, pl.Series("emb.hashed", x, dtype=pl.Array(pl.Float32, 8))])


ROWS = example()
OPTIONS = {"epsilon": 0.1, "k": 12, "border": 1.0}


def stored(folder: Path, cuts, engine=None) -> dict[str, bytes]:
    corpus = corpus_of(ROWS, cuts, folder, engine)
    return {name: a.tobytes() for name, a in stored_arrays(semdedup.learn(corpus, **OPTIONS), corpus).items()}


def likeness(frame: pl.DataFrame) -> np.ndarray:
    x = frame["emb.hashed"].to_numpy().astype(float)
    return x @ x.T - 2 * np.eye(len(x))


@pytest.fixture(scope="module")
def in_one_part(tmp_path_factory):
    return stored(tmp_path_factory.mktemp("one"), [])


@pytest.mark.parametrize("cuts", [[3, 3, 500], list(range(25, 600, 25))], ids=["4 parts", "24 parts"])
def test_any_parts_store_the_same_bytes(cuts, tmp_path, in_one_part):
    assert stored(tmp_path, cuts) == in_one_part
    assert len(in_one_part["removed"]) > 800


def test_many_tasks_and_two_workers_store_the_same_bytes(tmp_path, in_one_part, monkeypatch):
    monkeypatch.setattr(near_copies, "TASK_BYTES", 100 * 32)
    assert stored(tmp_path / "tasks", [200]) == in_one_part
    with Local(2).session() as engine:
        assert stored(tmp_path / "workers", [200, 450], engine) == in_one_part


def test_a_killed_learner_goes_on(tmp_path, in_one_part, monkeypatch):
    monkeypatch.setattr(near_copies, "TASK_BYTES", 100 * 32)
    staying, calls = thinning.staying, []

    def killed_once(rows, limit):
        calls.append(len(rows))
        if len(calls) == 9:
            raise KeyboardInterrupt
        return staying(rows, limit)

    monkeypatch.setattr(thinning, "staying", killed_once)
    with pytest.raises(KeyboardInterrupt):
        stored(tmp_path, [200])
    before = list(calls[:8])
    calls[:] = [0] * 9
    assert stored(tmp_path, [200]) == in_one_part
    # The tasks that were done are not done again: the first call is for a later cluster.
    assert calls[9] != before[0]
    assert not [path for path in tmp_path.iterdir() if path.name.startswith("work")]


def test_old_rows_stay_as_they_were_and_new_ones_are_compared_with_them(tmp_path):
    new = example(200, first=1000)
    first = corpus_of(ROWS, [300], tmp_path)
    before = with_stored(semdedup.learn(first, **OPTIONS), first)
    both = replace(first, parts=[*first.parts, FramePart("new", tuple(new.iter_slices(50)), generation=1)])
    after = with_stored(semdedup.learn(both, **OPTIONS), both)
    assert after(ROWS).equals(before(ROWS))
    every = pl.concat([ROWS, new])
    kept = after(every)["score.semdedup"].to_numpy() == 1
    cosine = likeness(every)
    assert (cosine[kept][:, kept] <= 0.9 + 1e-6).all()
    assert (cosine[~kept][:, kept].max(axis=1) > 0.9 - 1e-6).all()
    assert 100 < (~kept[600:]).sum() < 200
    # The same command again changes nothing.
    assert with_stored(semdedup.learn(both, **OPTIONS), both)(every).equals(after(every))


@pytest.mark.parametrize("before", ["fewer rows", "more rows", "an older generation", "a choice that was killed"])
def test_decisions_of_a_job_with_other_rows_are_not_used(tmp_path, monkeypatch, before):
    """Such a job stopped before it scored, or it is learned anew from files that were added later."""
    new = tuple(example(200, first=1000).iter_slices(50))

    def learned(folder: Path, *parts: FramePart) -> dict[str, np.ndarray]:
        old = corpus_of(ROWS, [300], folder)
        corpus = replace(old, parts=[*old.parts, *parts])
        return stored_arrays(semdedup.learn(corpus, **OPTIONS), corpus)

    added = () if before == "more rows" else (FramePart("new", new),)
    if before == "more rows":
        learned(tmp_path / "out", FramePart("new", new))
    elif before == "a choice that was killed":
        decided = near_copies._decided

        def killed(current, folder, rows):
            if rows.number == 1:
                raise KeyboardInterrupt
            return decided(current, folder, rows)

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(near_copies, "_decided", killed)
            learned(tmp_path / "out")
    else:
        learned(tmp_path / "out")
        if before == "an older generation":
            learned(tmp_path / "out", FramePart("new", new, generation=1))
    first, second = (learned(tmp_path / name, *added) for name in ("out", "fresh"))
    assert all(np.array_equal(first[name], second[name]) for name in second)


@given(st.integers(0, 10**6), st.integers(2, 30), st.integers(0, 60))
def test_refused_rows_are_those_that_a_plain_loop_refuses(seed, rows, count):
    rng = np.random.default_rng(seed)
    pairs = np.array([rng.choice(rows, 2, replace=False) for _ in range(count)], dtype=np.int64).reshape(-1, 2)
    turn, cosines = rng.permutation(rows), rng.random(count).astype(np.float32)
    stays: set[int] = set()
    for row in np.argsort(turn).tolist():
        partners = {int(b) for a, b in [*pairs.tolist(), *pairs[:, ::-1].tolist()] if a == row}
        if not partners & stays:
            stays.add(row)
    goes, best = refused(pairs, cosines, turn)
    assert set(goes.tolist()) == set(range(rows)) - stays
    both = list(zip(pairs.tolist(), cosines.tolist(), strict=True))
    for row, cosine in zip(goes.tolist(), best.tolist(), strict=True):
        assert cosine == max(value for pair, value in both if row in pair and stays & set(pair))
