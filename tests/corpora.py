"""Corpora of rows in memory, and scorers with what they learned about every part."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl

from curate.engines import Engine
from curate.engines.local import Local
from curate.scorers import Scorer
from curate.storage import files
from curate.tables.corpus import Corpus, FramePart
from curate.tables.corpus.array_files import read_arrays
from curate.tables.corpus.corpus import stored_path


def corpus_of(rows: pl.DataFrame, cuts: Sequence[int], folder: Path, engine: Engine | None = None) -> Corpus:
    """Return a corpus of rows that is cut into parts at these row numbers. Each part has tables of 16 rows."""
    edges = [0, *sorted(cuts), rows.height]
    parts = [
        FramePart(f"part-{i}", tuple(rows[low:high].iter_slices(16)))
        for i, (low, high) in enumerate(zip(edges[:-1], edges[1:], strict=True))
    ]
    return Corpus(parts, folder, engine or Local())


def corpus_of_parts(*parts: pl.DataFrame) -> Corpus:
    """Return a corpus with these tables as parts, for learners that keep nothing."""
    return Corpus([FramePart(f"part-{i}", (part,)) for i, part in enumerate(parts)], Path("nothing is kept"))


def stored_arrays(scorer: Scorer, corpus: Corpus) -> dict[str, np.ndarray]:
    """Return what a scorer stored about the rows of all parts, put together.

    The first of its ``part_arrays`` holds keys of rows. All arrays are brought into the order of these keys.
    """
    names = getattr(scorer, "part_arrays", ())
    paths = [stored_path(corpus.folder, part.name) for part in corpus.parts]
    parts = [read_arrays(path) for path in paths if names and files.exists(path)]
    if not parts:
        return {}
    together = {name: np.concatenate([part[name] for part in parts]) for name in names}
    order = np.argsort(together[names[0]], kind="stable")
    return {name: values[order] for name, values in together.items()}


def with_stored(scorer: Scorer, corpus: Corpus) -> Scorer:
    """Return a learned scorer that can score all rows of its corpus at once."""
    arrays = stored_arrays(scorer, corpus)
    return replace(scorer, **arrays) if arrays else scorer
