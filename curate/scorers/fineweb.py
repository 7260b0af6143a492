"""FineWeb's own filter of web text: lists, short lines and repeated lines (Penedo et al. 2024)."""

from dataclasses import dataclass, fields
from functools import lru_cache

import polars as pl

from curate.scorers import _text_rules
from curate.scorers._repetition_rules import repeated_items
from curate.words.english.character_flags import TERMINALS, points
from curate.words.english.word_table import word_table


@dataclass(frozen=True)
class Fineweb:
    """Whether a text passes FineWeb's own filter; high, 1, is a text that passes all rules.

    ``score.fineweb`` (float64) is 1 for a text that passes and 0 for any other. Keep 1. ``reason.fineweb`` (text) is
    the first rule that a text breaks, or null. Verdicts and reasons are those of datatrove 0.10
    (``FineWebQualityFilter`` for English).

    Lines without visible characters do not count. A line may end with a mark that ends sentences in any script. Words
    are those of spaCy's English tokenizer. In a script without spaces a clause is one word, so that texts fail more
    easily by max_line_feeds. An empty or null text fails. FineWeb uses this filter after those of `gopher` and `c4`.

    Options:
        min_line_ends: share of lines that must end with a mark such as "." or "?" (default 0.12).
        max_short_lines: share of lines that may be short (default 0.67).
        short_line: characters that a short line has at most (default 30).
        max_repeated_characters: share of characters in lines that occurred before (default 0.01, as in datatrove; the
            paper has 0.1).
        max_line_feeds: line feeds for each word (default 0.3).

    Source: Penedo et al. 2024, arXiv 2406.17557, section 3.6; max_line_feeds is of datatrove.
    """

    min_line_ends: float = 0.12
    max_short_lines: float = 0.67
    short_line: int = 30
    max_repeated_characters: float = 0.01
    max_line_feeds: float = 0.3
    needs = ("text",)
    schema = _text_rules.columns("fineweb")
    meanings = {"score.fineweb": "quality"}

    def __post_init__(self) -> None:
        """Refuse limits below 0."""
        _text_rules.check_limits("fineweb", {field.name: getattr(self, field.name) for field in fields(self)})

    def __call__(self, batch: pl.DataFrame) -> pl.DataFrame:
        """Score a batch."""
        return _text_rules.verdicts("fineweb", batch["text"], self._reasons)

    def _reasons(self, texts: pl.Series) -> list[str | None]:
        """Return the rule that each text breaks first, or None."""
        column = texts.to_list()
        reasons = list(map(self._line_reason, column))
        feeds = [text.count("\n") for text in column]
        # A run of visible characters has one word or more. Where these are enough, words need not be counted.
        few = [
            i
            for i, text in enumerate(column)
            if reasons[i] is None and feeds[i] / len(text.split()) > self.max_line_feeds
        ]
        counts = word_table(texts.gather(few)).counts
        for i, count in zip(few, counts.tolist(), strict=True):
            if feeds[i] / count > self.max_line_feeds:
                reasons[i] = "list_ratio"
        return reasons

    def _line_reason(self, text: str) -> str | None:
        """Return the rule on lines that a text breaks first, or None."""
        lines = [line for line in text.split("\n") if line and not line.isspace()]
        if not lines:
            return "empty"
        marks = _end_marks()
        if sum([line[-1] in marks for line in lines]) / len(lines) < self.min_line_ends:
            return "line_punct_ratio"
        if sum([len(line) <= self.short_line for line in lines]) / len(lines) > self.max_short_lines:
            return "short_line_ratio"
        characters = repeated_items(lines)[1]
        if characters and characters / (len(text) - text.count("\n")) > self.max_repeated_characters:
            return "char_dup_ratio"
        return None


@lru_cache(maxsize=1)
def _end_marks() -> frozenset[str]:
    """Return the marks that end a sentence in any script."""
    return frozenset(map(chr, points(TERMINALS).tolist()))
