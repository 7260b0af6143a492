"""Show how scores are distributed, and the examples at either end of each: the folder scores/."""

from collections.abc import Iterator
from pathlib import Path
from typing import cast

import numpy as np
import polars as pl

from curate import charts
from curate.reporting.html_page import Section
from curate.tables import batches, scored

SAMPLE = 20_000  # rows that a histogram counts: more would not change its shape
QUOTE = 700  # characters of an example that are shown, about ten lines of the page


def score_sections(folder: Path) -> Iterator[Section]:
    """Show a histogram of every score, and then the examples with the lowest and the highest score."""
    scores = folder / "scores"
    if not scores.is_dir():
        return
    shards = scored.score_files(scores)
    names = [name for name in batches.columns(shards[0]) if name.startswith("score.")]
    frame = pl.concat([batch for shard in shards for batch in batches.batches(shard, names)])
    # The rows with the smallest hashes are a random sample that is the same every time.
    shown = frame[np.sort(np.argsort(batches.keys(frame["id"], 0), kind="stable")[:SAMPLE]).tolist()]
    yield Section(
        "Scores: their distribution over the examples",
        "The 0.5 % of examples at either end are drawn in the last bar.",
        [charts.histogram(shown, name) for name in names],
    )
    for name in names:
        yield _extremes(scores, frame, name)


def _extremes(scores: Path, frame: pl.DataFrame, name: str) -> Section:
    """Quote the examples with the lowest and the highest score ``name``."""
    ends = frame.sort(name, "id").select("id", "source", name)
    picked = [(f"lowest {name}", ends.row(0)), (f"highest {name}", ends.row(-1))]
    texts = _texts(scores, {row[0] for _, row in picked})
    quotes = [(f"{end} = {row[2]:.3g}, {row[1]}: {row[0]}", texts[row[0]][:QUOTE]) for end, row in picked]
    return Section(f"Scores: the examples with the lowest and the highest {name}", quotes=quotes)


def _texts(scores: Path, ids: set[str]) -> dict[str, str]:
    """Return the texts of a few ids, read from the data that the score folder was made from."""
    job = scored.job(scores)
    reading = batches.Reading(text_column=str(job["text_column"]))
    texts: dict[str, str] = {}
    for shard in batches.shards(cast(list[str], job["data"])):
        for batch in batches.batches(shard, ("text",), reading=reading):
            texts |= dict(batch.filter(pl.col("id").is_in(sorted(ids))).select("id", "text").iter_rows())
    return texts
