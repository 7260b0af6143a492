"""Show how scores are distributed, and the examples at either end of each: the folder scores/."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa

from curate.charts import row_charts
from curate.errors import SchemaError
from curate.reporting.html_page import Section
from curate.storage import s3
from curate.tables import batches, meanings, scored
from curate.tables.meanings import Declaration, Meaning
from curate.tables.scored_inputs import line_losses
from curate.tables.shards import Shard

SAMPLE = 20_000  # rows that a histogram counts: more would not change its shape
# Words for the examples with the lowest and the highest score, by the meaning of the score.
ENDS: Mapping[Meaning, tuple[str, str]] = {
    "quality": (" (worst)", " (best)"),
    "hardness": (" (easiest)", " (hardest)"),
    "easiness": (" (hardest)", " (easiest)"),
}
NO_TEXT = "(no text)"  # for an example whose text is null or empty
QUOTE = 700  # characters of an example that are shown, about ten lines of the page


def score_sections(folder: Path) -> Iterator[Section]:
    """Show a histogram of every score, and then the examples with the lowest and the highest score."""
    scores = folder / "scores"
    if not scores.is_dir():
        return
    shards = scored.score_files(scores)
    names = [name for name in batches.columns(shards[0]) if name.startswith("score.")]
    _check_numbers(shards, names)
    recorded = meanings.recorded(shards)
    parts = [batch for shard in shards for batch in batches.batches(shard, names)]
    if not any(part.height for part in parts):
        yield Section("Scores: their distribution over the examples", "The score files have no rows.")
        return
    frame = pl.concat(parts)
    # The rows with the smallest hashes are a random sample that is the same every time.
    shown = frame[np.sort(np.argsort(batches.keys(frame["id"], 0), kind="stable")[:SAMPLE]).tolist()]
    lacking = "".join(f" Warning: {line}." for line in scored.left_out(scores).warnings)
    yield Section(
        "Scores: their distribution over the examples",
        "The 0.5 % of examples at either end are drawn in the last bar. " + _sentences(names, recorded) + lacking,
        [row_charts.histogram(shown, name) for name in names],
    )
    for name in names:
        yield _extremes(scores, frame, name, recorded.get(name, Declaration()).meaning)


def _check_numbers(shards: Sequence[Shard], names: Sequence[str]) -> None:
    """Check that all scores are numbers, of the same type in all files.

    Raises:
        SchemaError: if one is not; the message names the file, the score and the type.
    """
    first = batches.columns(shards[0])
    for shard in shards:
        columns = batches.columns(shard)
        for name in names:
            kind = columns.get(name)
            if kind is None or kind != first[name] or not (pa.types.is_floating(kind) or pa.types.is_integer(kind)):
                raise SchemaError(
                    f"{s3.shown(shard.path)}: {name} is {kind or 'missing'}, where a report needs numbers, of the same "
                    "type in all score files: score again"
                )


def _sentences(names: Sequence[str], recorded: Mapping[str, Declaration]) -> str:
    """Say what a high value of each score means, if the score files record it."""
    known_meanings = {name: recorded[name].meaning for name in names if name in recorded}
    listed = [f"{name} is {meanings.described(meaning)}" for name, meaning in known_meanings.items() if meaning]
    return "".join(f"{item}. " for item in listed).rstrip()


def _extremes(scores: Path, frame: pl.DataFrame, name: str, meaning: Meaning | None) -> Section:
    """Quote the examples with the lowest and the highest score ``name``, and call them by what the score means."""
    ends = frame.sort(name, "id").select("id", "source", name)
    low, high = ENDS[meaning] if meaning else ("", "")
    picked = [(f"lowest {name}{low}", ends.row(0)), (f"highest {name}{high}", ends.row(-1))]
    texts = _texts(scores, {row[0] for _, row in picked})
    quotes = [
        (f"{end} = {row[2]:.3g}, {row[1]}: {row[0]}", (texts.get(row[0]) or NO_TEXT)[:QUOTE]) for end, row in picked
    ]
    return Section(f"Scores: the examples with the lowest and the highest {name}", quotes=quotes)


def _texts(scores: Path, ids: set[str]) -> dict[str, str]:
    """Return the texts of a few ids, read from the data that the score folder was made from."""
    reading = scored.reading(scores)
    texts: dict[str, str] = {}
    for _, shard in scored.with_inputs(scores, scored.inputs(scores)):
        aligned = line_losses.aligned(reading, scores, shard)
        for batch in batches.batches(shard, ("text",), reading=aligned):
            texts |= dict(batch.filter(pl.col("id").is_in(sorted(ids))).select("id", "text").iter_rows())
    return texts
