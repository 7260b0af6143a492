"""Gopher's filters of web text: rules of quality and rules against repetition (Rae et al. 2021)."""

from dataclasses import dataclass, fields
from typing import Literal

import numpy as np
import polars as pl

from curate.errors import SchemaError
from curate.scorers import _repetition_rules, _text_rules
from curate.scorers._repetition_rules import LineLimits
from curate.words.english.hashes import HashTable
from curate.words.english.word_table import WordTable, word_table

STOP_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")  # Rae et al. 2021, appendix A.1.1
BULLETS = ("•", "-")
ELLIPSES = ("...", "…")


@dataclass(frozen=True)
class Gopher:
    """Whether a text passes the filters of Gopher; high, 1, is a text that passes all rules.

    ``score.gopher`` (float64) is 1 for a text that passes and 0 for any other. Keep 1. ``reason.gopher`` (text) is the
    first rule that a text breaks, or null. Rules against repetition come first, as in the pipeline of FineWeb. Verdicts
    and reasons are those of datatrove 0.10, ``GopherRepetitionFilter`` and ``GopherQualityFilter`` for English. Words
    are those of spaCy's English tokenizer, and a stop word counts only in small letters. In other languages than
    English nearly every text lacks the stop words: give min_stop_words=0. In a script without spaces (Chinese,
    Japanese, Thai, ...) a clause is one word, so that no limit fits: use `repetition` there. An empty or null text
    fails.

    Options:
        rules: both, quality, or repetition (default both).
        min_words: words that a text must have; runs of marks are not counted (default 50).
        max_words: words that it may have (default 100000).
        min_word_length: characters that its words must have on average (default 3).
        max_word_length: characters that they may have on average (default 10).
        max_symbols: number signs, or ellipses, for each word (default 0.1).
        max_bullet_lines: share of lines that begin with a bullet (default 0.9).
        max_ellipsis_lines: share of lines that end with an ellipsis (default 0.3).
        min_alphabetic: share of words that must have a letter (default 0.8).
        min_stop_words: different words of the, be, to, of, and, that, have, with (default 2).
        repeated_lines: share of lines that occurred before (default 0.3).
        repeated_line_characters: share of characters in them (default 0.2).
        repeated_paragraphs: share of paragraphs that occurred before (default 0.3).
        repeated_paragraph_characters: share of characters in them (default 0.2).
        top_2_gram: share of characters in the most frequent pair of words (default 0.2).
        top_3_gram: the same for 3 words (default 0.18).
        top_4_gram: the same for 4 words (default 0.16).
        repeated_5_grams: share of characters in runs of 5 words that occurred before (default 0.15).
        repeated_6_grams: the same for 6 words (default 0.14).
        repeated_7_grams: the same for 7 words (default 0.13).
        repeated_8_grams: the same for 8 words (default 0.12).
        repeated_9_grams: the same for 9 words (default 0.11).
        repeated_10_grams: the same for 10 words (default 0.1).

    Source: Rae et al. 2021, arXiv 2112.11446, appendix A.1.1 (quality) and Table A1 (repetition).
    """

    rules: Literal["both", "quality", "repetition"] = "both"
    min_words: int = 50
    max_words: int = 100_000
    min_word_length: float = 3
    max_word_length: float = 10
    max_symbols: float = 0.1
    max_bullet_lines: float = 0.9
    max_ellipsis_lines: float = 0.3
    min_alphabetic: float = 0.8
    min_stop_words: int = 2
    repeated_lines: float = 0.3
    repeated_line_characters: float = 0.2
    repeated_paragraphs: float = 0.3
    repeated_paragraph_characters: float = 0.2
    top_2_gram: float = 0.2
    top_3_gram: float = 0.18
    top_4_gram: float = 0.16
    repeated_5_grams: float = 0.15
    repeated_6_grams: float = 0.14
    repeated_7_grams: float = 0.13
    repeated_8_grams: float = 0.12
    repeated_9_grams: float = 0.11
    repeated_10_grams: float = 0.1
    needs = ("text",)
    schema = _text_rules.columns("gopher")
    meanings = {"score.gopher": "quality"}

    def __post_init__(self) -> None:
        """Refuse an unknown choice of rules, and limits below 0."""
        if self.rules not in ("both", "quality", "repetition"):
            raise SchemaError(f"gopher: rules={self.rules} must be both, quality or repetition")
        limits = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "rules"}
        _text_rules.check_limits("gopher", limits)

    def __call__(self, batch: pl.DataFrame) -> pl.DataFrame:
        """Score a batch."""
        return _text_rules.verdicts("gopher", batch["text"], self._reasons)

    def _reasons(self, texts: pl.Series) -> list[str | None]:
        """Return the rule that each text breaks first, or None."""
        reasons: list[str | None] = [None] * len(texts)
        if self.rules != "quality":
            limits = LineLimits(
                self.repeated_lines,
                self.repeated_line_characters,
                self.repeated_paragraphs,
                self.repeated_paragraph_characters,
            )
            reasons = [_repetition_rules.line_reason(text, limits) for text in texts.to_list()]
        passed = np.flatnonzero([reason is None for reason in reasons])
        texts = texts.gather(passed)
        words = word_table(texts)
        if self.rules != "quality":
            sizes = texts.str.len_chars().to_numpy().astype(np.int64)
            for text, reason in zip(passed, self._ngram_reasons(words, sizes), strict=True):
                reasons[text] = reason
            remaining = np.array([reasons[text] is None for text in passed], bool)
            passed, texts, words = passed[remaining], texts.filter(remaining), words.of_texts(remaining)
        if self.rules != "repetition":
            for text, reason in zip(passed, self._quality_reasons(texts, words), strict=True):
                reasons[text] = reason
        return reasons

    def _ngram_reasons(self, words: WordTable, sizes: np.ndarray) -> list[str | None]:
        top = {2: self.top_2_gram, 3: self.top_3_gram, 4: self.top_4_gram}
        repeats = {n: float(getattr(self, f"repeated_{n}_grams")) for n in range(5, 11)}
        return _repetition_rules.ngram_reasons(words, sizes, top, repeats)

    def _quality_reasons(self, texts: pl.Series, words: WordTable) -> list[str | None]:
        """Return the rule of quality that each text breaks first, or None."""
        visible = words.sums(words.visible)
        length = words.sums(words.sizes * words.visible) / np.maximum(visible, 1)
        count = np.maximum(words.counts, 1)
        hashes, ellipses = _occurrences(texts, ("#",)), _occurrences(texts, ELLIPSES)
        broken = {
            "gopher_short_doc": visible < self.min_words,
            "gopher_long_doc": visible > self.max_words,
            "gopher_below_avg_threshold": length < self.min_word_length,
            "gopher_above_avg_threshold": length > self.max_word_length,
            "gopher_too_many_hashes": hashes / count > self.max_symbols,
            "gopher_too_many_ellipsis": ellipses / count > self.max_symbols,
        }
        late = {
            "gopher_below_alpha_threshold": words.sums(words.alphabetic) / count < self.min_alphabetic,
            "gopher_enough_stop_words": _stop_words(words) < self.min_stop_words,
        }
        reasons = _first(broken, len(texts))
        last = _first(late, len(texts))
        # Lines are looked at only in texts with so many marks that the rules on lines may be broken.
        feeds = _occurrences(texts, ("\n",))
        many = _occurrences(texts, BULLETS) >= self.max_bullet_lines * feeds
        many |= ellipses >= self.max_ellipsis_lines * feeds
        return [
            reason or (self._line_reason(text) if marked else None) or final
            for text, reason, marked, final in zip(texts.to_list(), reasons, many.tolist(), last, strict=True)
        ]

    def _line_reason(self, text: str) -> str | None:
        """Return the rule on the marks at the ends of lines that a text breaks first, or None."""
        lines = text.splitlines()
        if _more_than(self.max_bullet_lines, [line.lstrip().startswith(BULLETS) for line in lines]):
            return "gopher_too_many_bullets"
        if _more_than(self.max_ellipsis_lines, [line.rstrip().endswith(ELLIPSES) for line in lines]):
            return "gopher_too_many_end_ellipsis"
        return None


def _more_than(limit: float, values: list[bool]) -> bool:
    return bool(values) and sum(values) / len(values) > limit


def _occurrences(texts: pl.Series, marks: tuple[str, ...]) -> np.ndarray:
    """Return how often these marks occur in each text, (n,)."""
    counts = np.zeros(len(texts), np.int64)
    for mark in marks:
        counts += texts.str.count_matches(mark, literal=True).to_numpy()
    return counts


def _stop_words(words: WordTable) -> np.ndarray:
    """Return the number of different stop words of each text, (n,)."""
    rows = HashTable.of(STOP_WORDS).find(words.hashes)
    hits = np.flatnonzero(rows >= 0)
    pairs = np.unique(words.owners[hits] * len(STOP_WORDS) + rows[hits])
    return np.bincount(pairs // len(STOP_WORDS), minlength=len(words.counts))


def _first(broken: dict[str, np.ndarray], texts: int) -> list[str | None]:
    """Return the first rule that each text breaks, or None."""
    rules = np.array([None, *broken], object)
    stacked = np.stack([np.zeros(texts, bool), *broken.values()])
    chosen: list[str | None] = rules[stacked.argmax(axis=0)].tolist()
    return chosen
