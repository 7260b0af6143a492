"""Split one run of visible characters into words, by spaCy's rules for English. `splitting` must give the same words.

In: a run of visible characters. Out: its words, in order; joined they are the run.

First, marks are taken off at both ends, until what is left is a special case or nothing more comes off. The rest is one
word if it is a web address, and is cut at hyphens, slashes and the like if not. spaCy then looks once more for special
cases among neighbouring words; that step crosses spaces, and is in `splitting`.

The rules follow ``spacy/lang/punctuation.py`` and the patterns for addresses of ``spacy/lang/tokenizer_exceptions.py``
as of version 3.8. spaCy has the MIT licence (`LICENSE-spaCy.txt`), Copyright (C) 2016-2024 ExplosionAI GmbH, 2016 spaCy
GmbH, 2015 Matthew Honnibal.
"""

import re
from collections.abc import Mapping
from functools import lru_cache

from curate.words.english.character_flags import (
    CURRENCIES,
    DOLLARS,
    LETTER,
    LOWER,
    PUNCTUATION,
    QUOTE,
    QUOTES,
    SYMBOL,
    UNITS,
    UPPER,
    regex_class,
)
from curate.words.english.special_cases import special_cases

CACHED = 1 << 16  # runs whose words are remembered; a run has about 15 characters


@lru_cache(maxsize=CACHED)
def words_of(run: str) -> tuple[str, ...]:
    """Return the words of a run of visible characters."""
    return _split(run, special_cases())


def split_without_special_cases(run: str) -> tuple[str, ...]:
    """Return the words of a run as if there were no special cases."""
    return _split(run, {})


def _split(run: str, special: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    before: list[str] = []
    after: list[str] = []
    size = 0
    while run and len(run) != size and run not in special:
        size = len(run)
        prefix, suffix = _prefix(run), 0
        if prefix and run[prefix:] in special:
            before.append(run[:prefix])
            run = run[prefix:]
            break
        suffix = _suffix(run[prefix:])
        if suffix and run[:-suffix] in special:
            after.append(run[-suffix:])
            run = run[:-suffix]
            break
        if prefix:
            before.append(run[:prefix])
        if suffix:
            after.append(run[size - suffix :])
        run = run[prefix : size - suffix]
    middle = special.get(run) or ((run,) if is_address(run) else _pieces(run)) if run else ()
    return (*before, *middle, *reversed(after))


def _prefix(run: str) -> int:
    """Return the length of the mark that begins a run, or 0."""
    match = _patterns()[0].match(run)
    return match.end() if match else 0


def _suffix(run: str) -> int:
    """Return the length of the mark or unit that ends a run, or 0."""
    # No unit is longer than 5 characters. Only periods may go on for longer.
    stop = len(run) - len(run.rstrip(".")) + 10
    match = _patterns()[1].search(run, max(0, len(run) - stop))
    return len(run) - match.start() if match else 0


def _pieces(run: str) -> tuple[str, ...]:
    """Return the parts of a run between hyphens, slashes and the like, and these marks."""
    parts, start = [], 0
    for match in _patterns()[2].finditer(run):
        first, end = match.span()
        # a mark at the very beginning stays with what follows
        if first:
            parts += [run[start:first]] * (first > start) + [match.group()]
            start = end
    return (*parts, run[start:]) if start < len(run) else tuple(parts)


@lru_cache(maxsize=1)
def _patterns() -> tuple[re.Pattern[str], re.Pattern[str], re.Pattern[str]]:
    """Return patterns of what comes off at the beginning and at the end of a run, and of where it is cut."""
    letter, lower, upper = map(regex_class, (LETTER, LOWER, UPPER))
    quote, symbol = regex_class(QUOTE), regex_class(SYMBOL)
    marks, currencies = re.escape(PUNCTUATION + QUOTES), re.escape(CURRENCIES)
    dollars, units = "|".join(map(re.escape, DOLLARS)), "|".join(map(re.escape, UNITS))
    prefix = rf"[§%=—–{marks}{currencies}{symbol}]|\+(?![0-9])|\.\.+|{dollars}"
    suffix = (
        rf"(?:……|[{marks}{symbol}—–]|\.\.+|['’][sS]|(?<=[0-9])(?:\+|[{currencies}]|{dollars}|{units})"
        rf"|(?<=°[FfCcKk])\.|(?<=[0-9{lower}%²+|:\-{marks}])\.|(?<=[{upper}][{upper}])\.)\Z"
    )
    infix = (
        rf"\.\.+|[…{symbol}]|(?<=[0-9])[+\-*^](?=[0-9-])|(?<=[{lower}{quote}])\.(?=[{upper}{quote}])"
        rf"|(?<=[{letter}]),(?=[{letter}])|(?<=[{letter}0-9])(?:--|---|——|[-–—~])(?=[{letter}])"
        rf"|(?<=[{letter}0-9])[:<>=/](?=[{letter}])"
    )
    return re.compile(prefix), re.compile(suffix), re.compile(infix)


def is_address(run: str) -> bool:
    """Return whether a run is an address: a scheme or a user, a host or four numbers, a port and a path.

    A user is whatever stands before an "@". Every "@" is tried, so that long runs need no search back and forth.
    """
    if "." not in run:
        return False
    scheme, host = _address_patterns()
    starts = {0}
    if "://" in run and (match := scheme.match(run)):
        starts.add(match.end())
    place = run.find("@", 1)
    while place > 0:
        starts.add(place + 1)
        place = run.find("@", place + 1)
    return any(host.match(run, start) for start in starts)


@lru_cache(maxsize=1)
def _address_patterns() -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Return patterns of the scheme and of what follows the user."""
    label = r"[A-Za-z0-9\u00a1-\uffff]"
    octet = r"(?:[1-9]\d?|1\d\d|2[0-4]\d|25[0-4])"
    private = (
        r"(?!(?:10|127)(?:\.\d{1,3}){3})(?!(?:169\.254|192\.168)(?:\.\d{1,3}){2})"
        r"(?!172\.(?:1[6-9]|2\d|3[01])(?:\.\d{1,3}){2})"
    )
    numbers = rf"{private}(?:[1-9]\d?|1\d\d|2[01]\d|22[0-3])(?:\.(?:1?\d{{1,2}}|2[0-4]\d|25[0-5])){{2}}\.{octet}"
    names = rf"(?:(?:{label}[A-Za-z0-9\u00a1-\uffff_-]{{0,62}})?{label}\.)+[{regex_class(LOWER)}]{{2,63}}"
    return re.compile(r"[\w+\-.]{2,}://"), re.compile(rf"(?:{numbers}|{names})(?::\d{{2,5}})?(?:[/?#]\S*)?\Z")
