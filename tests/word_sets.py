"""Words and sets of word n-grams in plain Python, which the tests of n-grams and of duplicates compare with."""

import re


def split(text, marks=False):
    """Words as curate.streaming.ngrams.words says, character by character."""
    wide = r"[\u3000-\U0010ffff]"
    word = rf"(?:(?!{wide})[\w\u0080-\u009f\u00a1-\u1fff\u2080-\u2fff])+"
    mark = r"[!-/:-@\[-^`{-~\u2000-\u207f]+"
    return re.findall(rf"{wide}|{word}" + (rf"|{mark}" if marks else ""), text.lower())


def shingles(text, n=5):
    words = split(text)
    return {tuple(words[i : i + n]) for i in range(max(1, len(words) - n + 1))} if words else set()


def jaccard(first, second):
    first, second = shingles(first), shingles(second)
    return len(first & second) / len(first | second) if first | second else 0.0
