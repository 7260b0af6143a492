"""What kind of data set it is, from a sample by hash(id, seed): dimension, sharpness, variety, overlap of sources."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import polars as pl

from curate import open_sets
from curate.description import measures
from curate.encoders import Encoder
from curate.errors import SchemaError
from curate.streaming import sample as _sampled
from curate.tables import batches, vectors
from curate.tables.shards import Shard

PAIRS = 1000  # rows whose pairs label sharpness is over, as in its paper
FEWEST = 10  # rows of each source for an overlap


@dataclass(frozen=True)
class Description:
    """``sample`` of ``rows`` rows, ``duplicates`` of them equal to another and left out; ``conflicts`` of those had
    another label than their first. ``dimension`` and ``two_nn`` are of the sample and of half of it: they grow with the
    rows, and how far the two differ says more than an interval over rows, which is narrow beside that bias.
    ``sharpness`` is over ``pairs`` rows; None with a note where it cannot be said.

    ``sources``: source, rows, sample, dimension, vendi; ``overlap``: source and a column a source.
    """

    rows: int
    sample: int
    duplicates: int
    conflicts: int
    dimension: tuple[float, float]
    two_nn: tuple[float, float]
    vendi: float
    sharpness: float | None
    pairs: int
    sources: pl.DataFrame
    overlap: pl.DataFrame | None
    notes: tuple[str, ...]


def describe(
    data: Sequence[str],
    *,
    embedding: str = "",
    encoder: str = "hashed",
    text_column: str = "text",
    sample: int = 5000,
    neighbours: int = 20,
    seed: int = 0,
) -> Description:
    """Describe the vectors of the column ``embedding``, or those that ``encoder`` makes of what it reads.

    Memory is the sample's vectors (and texts) and a block of distances; time grows with the sample squared.
    """
    if neighbours < 2 or sample < 2 * neighbours + 2:
        raise SchemaError(
            f"describe: neighbours={neighbours} must be at least 2, sample={sample} at least {2 * neighbours + 2}"
        )
    if embedding and not embedding.startswith(vectors.PREFIX):
        raise SchemaError(f"--embedding {embedding} is no column of vectors: those are named emb.<name>")
    encoder = "" if embedding else encoder
    found, column = batches.shards(data), embedding or _read_by(encoder)
    labelled = all("label" in batches.columns(shard) for shard in found)
    columns = (*([column] if column not in batches.IDENTITY else []), *(["label"] if labelled else []))
    for shard in found:
        batches.require(shard, [text_column if name == "text" else name for name in columns])
    counts = _counts(found)

    def stream() -> Iterator[pl.DataFrame]:
        for shard in found:
            yield from batches.batches(
                shard,
                columns,
                reading=batches.Reading(text_column=text_column),
                identity=("id", "source"),
                size=batches.BATCH_BYTES,
            )

    drawn = _sampled.smallest(stream(), sample, ("source", *columns), seed=seed)
    x = _vectors(drawn, column, encoder)
    first = measures.distinct(x)
    if len(first) < (least := 2 * neighbours + 2):  # for half of them too
        raise SchemaError(
            f"{len(first)} different vectors in a sample of {len(x)} rows of {counts.total()}: {neighbours} neighbours "
            f"need at least {least}; raise --sample or lower --neighbours"
        )
    halves = [measures.neighbours(x[rows], neighbours)[0] for rows in (first, first[: (len(first) + 1) // 2])]
    sharp, pairs, conflicts, notes = _labels(x, first, drawn["label"] if labelled else None)
    sources, overlap = pl.DataFrame(), None
    if 1 < len(counts) <= sample // FEWEST:
        parts = _sampled.smallest(stream(), sample // len(counts), (column,), seed=seed, by="source")
        sources, overlap = _by_source(_vectors(parts, column, encoder), parts["source"], counts, neighbours)
    elif len(counts) > 1:
        notes = (*notes, f"{len(counts)} sources: too many for {FEWEST} rows of each in the sample; raise --sample")
    return Description(
        counts.total(), len(x), len(x) - len(first), conflicts,
        (measures.dimension(halves[0]), measures.dimension(halves[1])),
        (measures.two_nn(halves[0]), measures.two_nn(halves[1])),
        measures.vendi(x[first]), sharp, pairs, sources, overlap, notes,
    )  # fmt: skip


def dimension(found: Sequence[Shard], column: str, *, sample: int = 5000, neighbours: int = 20, seed: int = 0) -> float:
    """Return the maximum-likelihood intrinsic dimension of a vector column of shards, equal rows left out."""

    def stream() -> Iterator[pl.DataFrame]:
        for shard in found:
            yield from batches.batches(shard, (column,), identity=("id",), size=batches.BATCH_BYTES)

    x = _vectors(_sampled.smallest(stream(), sample, (column,), seed=seed), column, "")
    x = x[measures.distinct(x)]
    if len(x) < neighbours + 2:
        raise SchemaError(
            f"{column} has {len(x)} different vectors in a sample of {sample} rows: its intrinsic dimension needs "
            f"{neighbours + 2}; give --dimension"
        )
    return measures.dimension(measures.neighbours(x, neighbours)[0])


def _counts(found: Sequence[Shard]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for shard in found:
        for batch in batches.batches(shard, identity=("source",)):
            counts.update(dict(batch["source"].value_counts().iter_rows()))
    return counts


def _read_by(encoder: str) -> str:
    """Return the column that an encoder reads."""
    column: str = getattr(open_sets.implementation("encoders", open_sets.parse(encoder)[0]), "column", "text")
    return column


def _vectors(rows: pl.DataFrame, column: str, encoder: str) -> np.ndarray:
    """Return (n, d) vectors of sampled rows."""
    if not encoder:
        return rows[column].to_numpy() if rows.height else np.zeros((0, 1), np.float32)
    built = cast(Encoder, open_sets.build("encoders", encoder))
    read = rows[column]
    return built.encode((read.fill_null("") if read.dtype == pl.String else read).to_list())


def _labels(
    x: np.ndarray, first: np.ndarray, labels: pl.Series | None
) -> tuple[float | None, int, int, tuple[str, ...]]:
    """Return label sharpness, of how many rows, equal rows with another label than their first, and notes."""
    if labels is None:
        return None, 0, 0, ("no label column: no label sharpness",)
    if nulls := labels.null_count():
        return None, 0, 0, (f"label is null in {nulls} rows of the sample: no label sharpness",)
    names = labels.cast(pl.String).to_list()
    seen: dict[bytes, str] = {}
    conflicts = sum(seen.setdefault((row + 0.0).tobytes(), name) != name for row, name in zip(x, names, strict=True))
    rows = first[:PAIRS]
    sharp = measures.sharpness(x[rows], [names[i] for i in rows])
    notes: tuple[str, ...] = ("all labels are alike: no label sharpness",) if sharp is None else ()
    if conflicts:
        notes += (
            f"{conflicts} rows equal another row but not its label: label sharpness without them is a lower bound",
        )
    return sharp, len(rows), conflicts, notes


def _by_source(
    x: np.ndarray, sources: pl.Series, counts: Counter[str], neighbours: int
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return a table of sources, and their overlap; rows equal to another of their own source are left out."""
    named, kept = np.array(sources.to_list(), dtype=str), np.zeros(len(x), bool)
    rows = []
    for name in sorted(counts):
        places = np.flatnonzero(named == name)
        places = places[measures.distinct(x[places])]
        kept[places] = True
        near = measures.neighbours(x[places], neighbours)[0] if len(places) >= neighbours + 2 else None
        size = None if near is None else measures.dimension(near)
        rows.append((name, counts[name], len(places), size, measures.vendi(x[places])))
    names = ["source", "rows", "sample", "dimension", "vendi"]
    _, nearest = measures.neighbours(x[kept], 1)
    columns, shares = measures.overlap(nearest[:, 0], named[kept].tolist())
    matrix = pl.DataFrame({"source": columns, **{f"in {name}": shares[:, i] for i, name in enumerate(columns)}})
    return pl.DataFrame(rows, schema=names, orient="row"), matrix
