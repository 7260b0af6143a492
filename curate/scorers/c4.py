"""C4's filter of web text: whole sentences, no code, no notices of web sites (Raffel et al. 2020)."""

import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import polars as pl

from curate.errors import SchemaError
from curate.scorers import _text_rules
from curate.words.english.sentences import sentence_counts

CITATION = re.compile(r"\[\d*\]|\[edit\]|\[citation needed\]")
END_MARKS = (".", "?", "!", '"', "'")
# Phrases of the notices that C4 calls policies; its published code has them, not the paper.
POLICIES = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies")
FAILS_PAGE = ("lorem_ipsum", "curly_bracket")  # rules that fail a whole page; others drop a line


@dataclass(frozen=True)
class C4:
    """Whether a page passes the filter of C4; high, 1, is a page that passes all rules.

    ``score.c4`` (float64) is 1 for a page that passes and 0 for any other. Keep 1. ``reason.c4`` (text) is the rule
    that the page breaks, or null. Verdicts and reasons are those of datatrove 0.10, ``C4QualityFilter`` for English.

    C4 first drops lines: without a mark at the end, with few words or a very long one, with "javascript", and notices
    about cookies or terms of use. The page fails if too few sentences are left, or if "lorem ipsum" or a curly bracket
    stands in a line that is left so far. C4 trains on the lines that are left. This scorer only judges: the text of a
    page that passes keeps all its lines. Sentences end at a mark such as ".", "!", "?" or "。". In scripts without
    spaces a line seldom has three words, so that nearly every page fails; min_line_words=1 and end_marks=false help. An
    empty or null text fails.

    Options:
        min_sentences: sentences that must be left (default 5).
        min_line_words: drop lines with fewer words between spaces (default 3).
        max_word_length: drop lines with a word of more characters (default 1000).
        end_marks: drop lines that do not end with one of . ? ! " ' or that end with "..." (default true).
        curly_brackets: fail pages with a curly bracket (default true).
        badwords: a file with one word or phrase a line; a page with one of them fails (default: no file).

    Source: Raffel et al. 2020, arXiv 1910.10683, section 2.2. The longest word and the notices are in its published
    code only.
    """

    min_sentences: int = 5
    min_line_words: int = 3
    max_word_length: int = 1000
    end_marks: bool = True
    curly_brackets: bool = True
    badwords: str = ""
    needs = ("text",)
    schema = _text_rules.columns("c4")
    meanings = {"score.c4": "quality"}

    def __post_init__(self) -> None:
        """Refuse limits below 0, and a file of bad words that cannot be used."""
        limits = ("min_sentences", "min_line_words", "max_word_length")
        _text_rules.check_limits("c4", {name: getattr(self, name) for name in limits})
        if self.badwords:
            _bad_words(self.badwords)

    def __call__(self, batch: pl.DataFrame) -> pl.DataFrame:
        """Score a batch."""
        return _text_rules.verdicts("c4", batch["text"], self._reasons)

    def _reasons(self, texts: pl.Series) -> list[str | None]:
        """Return the rule that each text breaks, or None."""
        reasons: list[str | None] = []
        undecided: list[list[str]] = []
        for text in texts.to_list():
            reason, lines = self._remaining(text)
            # Every line has a sentence, so that enough lines are enough sentences.
            enough = reason or len(lines) >= self.min_sentences
            undecided.append([] if enough else lines)
            reasons.append(reason if enough else "too_few_sentences")
        owners = np.repeat(np.arange(len(texts)), list(map(len, undecided)))
        counts = sentence_counts(pl.Series([line for lines in undecided for line in lines], dtype=pl.String))
        sentences = np.bincount(owners, counts, minlength=len(texts))
        for text in np.unique(owners[sentences[owners] >= self.min_sentences]).tolist():
            reasons[text] = None
        if self.badwords:
            words = _bad_words(self.badwords)
            lowered = texts.str.to_lowercase()
            # First all words are searched for at once, and then each hit is checked for what stands around it.
            for text in lowered.str.contains_any(list(words.words)).arg_true().to_list():
                if reasons[text] is None and words.pattern.search(lowered[text]):
                    reasons[text] = "document_removed_with_badwords"
        return reasons

    def _remaining(self, text: str) -> tuple[str | None, list[str]]:
        """Return the rule that fails a whole page, or None, and the lines that are left of it.

        Reading stops when the page has passed.
        """
        lowered = text.lower()
        cited = "]" in text and CITATION.search(text) is not None
        # A citation may stand inside a phrase. Then every line is looked at closely.
        plain = not cited and "javascript" not in lowered and not any(policy in lowered for policy in POLICIES)
        harmless = not cited and "lorem ipsum" not in lowered and ("{" not in text or not self.curly_brackets)
        lines: list[str] = []
        for raw in text.splitlines():
            line = self._well_formed(raw.strip(), cited)
            if line is None:
                continue
            reason = None if plain and harmless else self._phrase(line)
            if reason in FAILS_PAGE:
                return reason, []
            if reason is None:
                lines.append(line)
            if harmless and len(lines) >= self.min_sentences:
                break
        return None, lines

    def _well_formed(self, line: str, cited: bool) -> str | None:
        """Return a line without its citations, or None if its end or its words drop it."""
        if len(line) > self.max_word_length and max(map(len, line.split())) > self.max_word_length:
            return None
        bare = CITATION.sub("", line) if cited else line
        if self.end_marks and (not bare.endswith(END_MARKS) or bare.endswith("...")):
            return None
        # One split more than the limit tells whether there are enough words.
        return bare if len(line.split(maxsplit=self.min_line_words)) >= self.min_line_words else None

    def _phrase(self, line: str) -> str | None:
        """Return the first rule on phrases that a line breaks, or None."""
        small = line.lower()
        if "lorem ipsum" in small:
            return "lorem_ipsum"
        if "javascript" in small:
            return "javascript"
        if self.curly_brackets and "{" in line:
            return "curly_bracket"
        return "policy" if any(policy in small for policy in POLICIES) else None


@dataclass(frozen=True)
class BadWords:
    """Words that fail a page, and the pattern of such a word that stands alone."""

    words: tuple[str, ...]
    pattern: re.Pattern[str]


@lru_cache(maxsize=8)
def _bad_words(path: str) -> BadWords:
    """Return the words of a file in small letters.

    Raises:
        SchemaError: if the file cannot be read as UTF-8, or has no words.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SchemaError(
            f"c4: badwords={path} cannot be read as text in UTF-8 ({error}). Name another file"
        ) from error
    words = tuple(dict.fromkeys(line.strip().lower() for line in lines if line.strip()))
    if not words:
        raise SchemaError(f"c4: badwords={path} has no words. Write one word or phrase on each line")
    return BadWords(words, re.compile(rf"(?:\W|^)(?:{'|'.join(map(re.escape, words))})(?:\W|$)"))
