"""A job with every scorer that learns, over files of odd sizes, each of which is a part of its own.

The rows have what each scorer reads: texts of which some are copies, clumps of vectors, labels and probabilities.
"""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import polars as pl
import pytest

from curate.engines import Engine
from curate.engines.local import Local
from curate.scoring import score
from curate.scoring.learning import corpus_parts

FILE_ROWS = (1, 37, 0, 2, 101, 60)  # one row alone, and a file without rows
ROWS = sum(FILE_ROWS)
CLUMPS, WIDTH = 5, 6
CLASSES = 4  # the last one has a single row
WORDS = "ant bee cat dog eel fox gnu hen ibis jay koala lynx mole newt owl pig quail ram seal toad".split()


def texts(rng: np.random.Generator) -> list[str | None]:
    """Texts of which some are copies, nearly copies, null, empty, or without words."""
    odd: list[str | None] = [
        None, None, "", "", "!!!", "!!!", "...", "Ant, bee", "ant bee!", "ant", "ant bee cat dog", "  "
    ]  # fmt: skip
    result = [*odd]
    while len(result) < ROWS:
        words = rng.choice(WORDS, rng.integers(5, 60)).tolist()
        result.append(" ".join(words))
        # Copies, and texts with one to three words changed.
        for _ in range(min(rng.integers(0, 4), ROWS - len(result))):
            for place in rng.integers(0, len(words), rng.integers(0, 4)):
                words[place] = rng.choice(WORDS)
            result.append(" ".join(words) + rng.choice(["", ".", " ?!"]))
    return [result[i] for i in rng.permutation(ROWS)]


def vector_column(name: str, values: np.ndarray) -> pl.Series:
    """A column of vectors of float32."""
    return pl.Series(name, values.astype(np.float32), dtype=pl.Array(pl.Float32, values.shape[1]))


def clumps(rng: np.random.Generator, rows: int) -> np.ndarray:
    """Vectors of different lengths near one of five directions that are well apart."""
    directions = np.eye(WIDTH)[:CLUMPS] + 0.1
    noise = rng.normal(size=(rows, WIDTH)) * rng.uniform(0.02, 0.2, (rows, 1))
    return (directions[rng.integers(0, CLUMPS, rows)] + noise) * rng.uniform(0.5, 2, (rows, 1))


@cache
def rows() -> pl.DataFrame:
    """The rows of the job in the order of its files."""
    rng = np.random.default_rng(17)
    label = rng.integers(0, CLASSES - 1, ROWS)
    label[ROWS // 2] = CLASSES - 1
    grid = rng.integers(-8, 9, (ROWS, 3)) / 8  # sums of eighths are exact, and many distances are equal
    grid[[3, 50]] = 0
    # Sixty-fourths that sum to 1.
    probs = [rng.multinomial(64, rng.dirichlet(np.ones(CLASSES)), ROWS) / 64 for _ in range(2)]
    frame = pl.DataFrame({"id": [f"row-{i}" for i in range(ROWS)], "text": texts(rng), "label": label})
    return frame.with_columns(
        vector_column("emb.clumps", clumps(rng, ROWS)),
        vector_column("emb.grid", grid),
        vector_column("emb.plane", rng.gamma(2.0, 1.0, (ROWS, 2))),
        *(pl.Series(f"probs.{i}", p, dtype=pl.Array(pl.Float64, CLASSES)) for i, p in enumerate(probs)),
    )


@cache
def target() -> pl.DataFrame:
    """Rows like those that are wanted."""
    rng = np.random.default_rng(18)
    words = [" ".join(rng.choice(WORDS[:12], 30)) for _ in range(40)]
    return pl.DataFrame({"id": [f"target-{i}" for i in range(40)], "text": words}).with_columns(
        vector_column("emb.clumps", clumps(rng, 40))
    )


@cache
def folder() -> Path:
    """The folder of all jobs, with the target in two files; it is removed when the tests end."""
    place = TemporaryDirectory()
    _HELD.append(place)
    path = Path(place.name)
    (path / "target").mkdir()
    target()[:7].write_parquet(path / "target" / "a.parquet")
    target()[7:].write_parquet(path / "target" / "b.parquet")
    return path


_HELD: list[TemporaryDirectory[str]] = []


def write_files(frame: pl.DataFrame, to: Path, sizes: Sequence[int]) -> None:
    """Write rows into files of these numbers of rows."""
    to.mkdir(parents=True)
    edges = np.cumsum([0, *sizes]).tolist()
    for number, (low, high) in enumerate(zip(edges[:-1], edges[1:], strict=True)):
        frame[low:high].write_parquet(to / f"{number:02d}.parquet")


def run_job(data: Path, scorers: Sequence[str], out: Path, engine: Engine | None = None) -> dict[str, pl.DataFrame]:
    """Score files, each of which is a part of its own. Return the score files by name."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(corpus_parts, "LEAST_BUNDLE_BYTES", 1)
        patch.setattr(corpus_parts, "BUNDLES", 1 << 30)
        score.score(data, scorers, out, engine=engine or Local(1))
    return {path.name: pl.read_parquet(path) for path in sorted(out.glob("*.scores.parquet"))}


def scored(name: str, *scorers: str) -> pl.DataFrame:
    """The scores of all rows, in their order, from a job of this name with other scorers than `job_scores`."""
    data = folder() / "data"
    if not data.exists():
        write_files(rows(), data, FILE_ROWS)
    frames = run_job(data, scorers, folder() / name)
    return rows().select("id").join(pl.concat(frames.values()), on="id", how="left", maintain_order="left")


def specs() -> tuple[str, ...]:
    """All scorers that learn, with options for which brute force is exact."""
    wanted = folder() / "target"
    return (
        "duplicates:bands=64,rows=4",  # a pair at the threshold is missed with a chance of 3e-11
        "semdedup:k=1,epsilon=0.1,embedding=emb.clumps",
        f"prototypes:k={CLUMPS},embedding=emb.clumps",
        f"density:k={CLUMPS},embedding=emb.clumps",
        "d2:near=3,embedding=emb.clumps",
        "moderate:embedding=emb.grid",
        "class_prototypes:embedding=emb.grid",
        "coverage:near=3,planes=2,probes=20000,embedding=emb.plane",
        "label_quality:epochs=0+1,logits=false",  # not the logits of dynamics
        f"transport_value:target={wanted},embedding=emb.clumps",
        "dynamics:checkpoints=3,batch=1000,rate=0.05,embedding=emb.clumps",
        f"dsir:target={wanted},buckets={1 << 22}",
        "perplexity:bits=22",
    )


@cache
def job_scores() -> pl.DataFrame:
    """The scores of all rows, in their order.

    They come from a job in this process. A job with two workers, and its scorers in the other order, gives the same.
    """
    scores = scored("one", *specs())
    others = run_job(folder() / "data", specs()[::-1], folder() / "two", Local(2))
    in_process = {path.name: pl.read_parquet(path) for path in sorted((folder() / "one").glob("*.scores.parquet"))}
    assert len(in_process) == len(FILE_ROWS) and in_process.keys() == others.keys()
    for name, frame in in_process.items():
        assert frame.equals(others[name].select(frame.columns)), name
    return scores


def column(name: str) -> np.ndarray:
    """A column of the scores of all rows."""
    return job_scores()[name].to_numpy()


def unit_vectors(name: str, frame: pl.DataFrame | None = None) -> np.ndarray:
    """The vectors of a column, with length 1, as float64; a zero vector stays zero."""
    x = (rows() if frame is None else frame)[name].to_numpy().astype(float)
    lengths = np.linalg.norm(x, axis=1, keepdims=True)
    return x / np.where(lengths > 0, lengths, 1)
