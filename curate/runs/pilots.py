"""Pilot runs: design a few dozen small trainings, run them (resumable run by run), record them in a run table."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import polars as pl

from curate import __version__
from curate.engines import Engine
from curate.engines.local import Local
from curate.errors import Interrupted, SchemaError
from curate.pool import baselines
from curate.pool.pool import Budget, Pool
from curate.progress import Progress, silent
from curate.storage.files import sweep, text_hash, write_text
from curate.trainers import Trainer

DESIGNS = ("dirichlet", "simplex", "optimal")
LEVELS = 4  # token budgets, a factor of 2 apart, the largest as asked
SHARES_OF_UNIQUE = (1.0, 0.25, 0.0625)  # of a pool's unique tokens on hand: few tokens repeat as many times as in
# a run 4 or 16 times longer (simulated epoching)
SPARSE = 0.3  # Dirichlet concentration whose draws sit near corners and edges


@dataclass(frozen=True)
class Run:
    """One training to do: a mixture, a budget, the unique tokens on hand of each pool, a seed."""

    run: str
    weights: Mapping[str, float]
    budget: Budget
    unique: Mapping[str, float]
    seed: int


def design(
    pools: Sequence[Pool], runs: int, largest: Budget, *, kind: str = "dirichlet", seed: int = 0
) -> tuple[Run, ...]:
    """Return ``runs`` trainings that vary mixture, tokens (four levels, a factor of 2 apart) and unique tokens.

    ``dirichlet``: the three baselines, then draws near corners (every pool's in turn), spread out, and around the
    temperature baseline.
    ``simplex``: corners, centroid and edge midpoints of the simplex (Scheffe), repeated over budgets. ``optimal``: the
    subset of 20 x ``runs`` Dirichlet candidates that greedily maximises the information about a log-linear law
    (D-optimality), which suits few runs and many pools.
    """
    if kind not in DESIGNS:
        raise SchemaError(f"unknown design {kind!r}: choose one of {', '.join(DESIGNS)}")
    if runs < 1:
        raise SchemaError(f"--runs {runs} must be at least 1")
    rng = np.random.default_rng(seed)
    count = 20 * runs if kind == "optimal" else runs
    weights = _lattice(len(pools), count) if kind == "simplex" else _mixtures(pools, count, rng)
    tokens = largest.tokens / 2.0 ** rng.permutation(np.arange(count) % LEVELS)
    shares = rng.choice(SHARES_OF_UNIQUE, size=(count, len(pools)))
    unique = np.maximum(1.0, np.floor(shares * np.array([pool.tokens for pool in pools])))
    chosen = _greedy(weights, tokens, unique, runs) if kind == "optimal" else range(count)
    names = [pool.name for pool in pools]
    return tuple(
        Run(
            run=f"{kind}-{i:04d}",
            weights=dict(zip(names, weights[row].tolist(), strict=True)),
            budget=Budget(float(tokens[row]), largest.params),
            unique=dict(zip(names, unique[row].tolist(), strict=True)),
            seed=seed + i,
        )
        for i, row in enumerate(chosen)
    )


def _mixtures(pools: Sequence[Pool], count: int, rng: np.random.Generator) -> np.ndarray:
    known = baselines.fixed(pools)
    p = len(pools)
    around = p * known["temperature"]
    rows = list(known.values())
    corner = 0
    while len(rows) < count:
        row = rng.dirichlet([np.full(p, SPARSE), np.ones(p), around][len(rows) % 3])
        if len(rows) % 3 == 0:  # every pool in turn is the main one: plans often end at corners
            largest, chosen = int(row.argmax()), corner % p
            row[[largest, chosen]] = row[[chosen, largest]]
            corner += 1
        rows.append(row)
    return np.stack(rows[:count])


def _lattice(p: int, count: int) -> np.ndarray:
    corners = np.eye(p)
    edges = [(corners[i] + corners[j]) / 2 for i in range(p) for j in range(i)]
    points = np.array([np.full(p, 1 / p), *corners, *edges])
    return points[np.arange(count) % len(points)]


def _greedy(weights: np.ndarray, tokens: np.ndarray, unique: np.ndarray, runs: int) -> np.ndarray:
    scale = np.log(tokens / tokens.max())[:, None]
    repeats = np.log(np.maximum(weights * tokens[:, None] / unique, 1.0))
    features = np.hstack([weights, scale * weights, weights * repeats])
    inverse = np.eye(features.shape[1]) * 1e3
    left, chosen = list(range(len(features))), []
    for _ in range(runs):
        x = features[left]
        best = left.pop(int(np.argmax(np.einsum("ij,jk,ik->i", x, inverse, x))))
        chosen.append(best)
        direction = inverse @ features[best]
        inverse -= np.outer(direction, direction) / (1 + features[best] @ direction)
    return np.array(chosen)


@dataclass(frozen=True)
class Task:
    """What a worker needs for one run."""

    run: Run
    trainer: Trainer
    path: Path
    spec: str


def run(
    runs: Sequence[Run],
    trainer: Trainer,
    folder: Path,
    *,
    data: str,
    engine: Engine | None = None,
    restart: bool = False,
    progress: Progress = silent,
) -> pl.DataFrame:
    """Train every run not yet in ``folder`` (one JSON a run) and return the run table in the order of ``runs``.

    ``data`` is a hash of what the trainer trains on; a finished run of another design or other data is refused.
    """
    tasks = []
    for item in runs:
        path = folder / f"{item.run}.json"
        spec = text_hash(json.dumps([asdict(item), data, __version__], sort_keys=True))
        if restart:
            path.unlink(missing_ok=True)
        if not path.is_file():
            tasks.append(Task(item, trainer, path, spec))
        elif json.loads(path.read_text(encoding="utf-8"))["spec"] != spec:
            raise Interrupted(
                f"{path} is a finished run of another design, data or version: give --restart to train all runs again, "
                "or another --out"
            )
    finished = len(runs) - len(tasks)
    progress("pilot", finished, len(runs))
    sweep(folder, ".json")
    tasks.sort(key=lambda task: -task.run.budget.tokens)  # longest first keeps all workers busy to the end
    for done, _ in enumerate((engine or Local()).run(train_one, tasks), start=1):
        progress("pilot", finished + done, len(runs))
    return pl.DataFrame(list(_records(runs, folder)))


def train_one(task: Task) -> str:
    """Train one run and write its result (atomic)."""
    losses = task.trainer.train(task.run.weights, task.run.budget, seed=task.run.seed, unique=task.run.unique)
    write_text(task.path, json.dumps({"spec": task.spec, "losses": losses}, indent=1, sort_keys=True) + "\n")
    return task.run.run


def _records(runs: Sequence[Run], folder: Path) -> Iterator[dict[str, object]]:
    for item in runs:
        losses = json.loads((folder / f"{item.run}.json").read_text(encoding="utf-8"))["losses"]
        yield (
            {"run": item.run, "seed": item.seed, "params": item.budget.params, "tokens": item.budget.tokens}
            | {f"weight.{name}": share for name, share in item.weights.items()}
            | {f"unique.{name}": float(count) for name, count in item.unique.items()}
            | {f"loss.{name}": value for name, value in losses.items()}
        )
