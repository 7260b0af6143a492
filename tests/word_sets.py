"""Words and sets of word n-grams in plain Python, which the tests of n-grams and of duplicates compare with."""

from unicodedata import category

from curate.words.character_kinds import UNSPACED

SEPARATORS = "\u200b\u0f0b\u0f0c\u1361"


def kind(character):
    """Return "space", "word", "mark", "single", "joined" or "" (not there)."""
    if character == "_":
        return "word"
    name = category(character)
    if character in SEPARATORS or name[0] == "Z" or name == "Cc":
        return "space"
    if name == "Cf" or "\ufe00" <= character <= "\ufe0f" or "\U000e0000" <= character <= "\U000e0fff":
        return ""
    if name == "So" and character >= "\u2600":
        return "single"
    if name[0] in "PS":
        return "mark"
    if name[0] == "M":
        return "joined"
    return "single" if any(a <= ord(character) <= b for a, b in UNSPACED) else "word"


def split(text, marks=False):
    """Words as curate.words.ngrams.words says, character by character."""
    words, before = [], "space"
    for character in text.lower():
        current = kind(character)
        if not current:
            continue
        if current == "mark" and not marks:
            current = "space"
        if current == "joined":
            if before in ("word", "single"):
                words[-1] += character
                continue
            current = "word"
        if current == before and current != "single":
            if current != "space":
                words[-1] += character
        elif current != "space":
            words.append(character)
        before = current
    return words


def shingles(text, n=5):
    words = split(text)
    return {tuple(words[i : i + n]) for i in range(max(1, len(words) - n + 1))} if words else set()


def jaccard(first, second):
    first, second = shingles(first), shingles(second)
    return len(first & second) / len(first | second) if first | second else 0.0
