"""Split many texts into words by spaCy's rules for English at once: numpy over code points.

In: a column of texts. Out: where each word begins and ends. May use: its own room.

A word begins where a run of visible characters begins, and where a rule of `chunk` cuts the run. The rules for single
characters are applied to all runs at once. A run with a longer mark, such as an ellipsis or "US$", is split by `chunk`.
"""

from dataclasses import dataclass
from functools import lru_cache
from itertools import count

import numpy as np
import polars as pl

from curate.words.english import chunk
from curate.words.english.character_flags import (
    AFFIX,
    BEFORE_PERIOD,
    COMPARISON,
    DIGIT,
    HYPHEN,
    LETTER,
    LOWER,
    PREFIX,
    QUOTE,
    SIGN,
    SPACE,
    SYMBOL,
    UNIT_END,
    UPPER,
    table,
)
from curate.words.english.hashes import Hasher, HashTable
from curate.words.english.run_memory import run_memory
from curate.words.english.special_cases import special_cases
from curate.words.english.special_words import join_special_words

PERIOD, COMMA, ELLIPSIS, PLUS, MINUS, DOLLAR, DEGREE = map(ord, ".,…+-$°")
LONGEST_UNIT = 5  # characters of a unit such as "kg" after a number
# After so many turns, marks still come off few runs, such as rulers. The definition is faster for the short ones.
ROUNDS = 8
SHORT_RUN = 1000  # characters; the definition takes a time that grows with the square of the length


@dataclass(frozen=True)
class Words:
    """The words of n texts: word i is ``codes[starts[i]:ends[i]]``, as code points.

    ``flags`` (c,) uint16 are the properties of the characters ``codes`` (c,) uint32. Text i has the words from
    ``offsets[i]`` up to ``offsets[i + 1]``, and begins at the character ``limits[i]``; a line feed lies between texts.
    """

    codes: np.ndarray
    flags: np.ndarray
    hasher: Hasher
    starts: np.ndarray
    ends: np.ndarray
    offsets: np.ndarray
    limits: np.ndarray


def split(texts: pl.Series) -> Words:
    """Return the words of a column of texts without nulls, of some megabytes at most."""
    whole = "\n" + (texts.str.join("\n").item() if len(texts) else "") + "\n"
    codes = _code_points(whole)
    flags = table().take(codes)
    run_starts, run_ends = _visible_runs(flags)
    hasher = Hasher.of(codes)

    def split_new(chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        limits = zip(run_starts[chosen].tolist(), run_ends[chosen].tolist(), strict=True)
        return _split_runs([whole[start:end] for start, end in limits])

    words = run_memory().word_starts(hasher.hashes(run_starts, run_ends), split_new)
    starts = np.repeat(run_starts, words.counts) + words.values
    ends = np.append(starts[1:], 0)[: len(starts)]
    ends[words.offsets[1:] - 1] = run_ends
    starts, ends = join_special_words(hasher, codes, starts, ends)
    limits = 1 + np.concatenate(([0], np.cumsum(texts.str.len_chars().to_numpy() + 1, dtype=np.int64)))
    return Words(codes, flags, hasher, starts, ends, np.searchsorted(starts, limits), limits)


def _split_runs(texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return how many words each run of visible characters has, and where they begin, from the start of the run."""
    runs = _Runs.of("\n" + "\n".join(texts) + "\n")
    runs.split_whole()
    runs.take_off_marks()
    runs.cut()
    starts = runs.words()
    counts = np.diff(np.searchsorted(starts, runs.starts), append=len(starts))
    return counts, starts - np.repeat(runs.starts, counts)


def _code_points(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-32-le"), np.uint32)


def _visible_runs(flags: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return where the runs of visible characters begin and end, in a text that begins and ends with a space."""
    space = (flags & SPACE).astype(bool)
    borders = np.flatnonzero(space[1:] != space[:-1]) + 1
    return borders[::2], borders[1::2]


@lru_cache(maxsize=1)
def _special_table() -> tuple[HashTable, np.ndarray]:
    """Return the hashes of the special cases, and where their second and third word begin (0: there is none)."""
    cases = special_cases()
    lengths = [[len(part) for part in parts] for parts in cases.values()]
    seconds = [[sum(parts[:i]) if i < len(parts) else 0 for i in (1, 2)] for parts in lengths]
    return HashTable.of(list(cases)), np.array(seconds)


@dataclass
class _Runs:
    """Runs of visible characters, while marks come off at both ends.

    Run i is ``codes[starts[i]:ends[i]]`` and what is left of it ``codes[firsts[i]:lasts[i]]``. ``edges`` (c + 1,) bool
    marks where words begin or end. ``whole`` (r,) bool are the runs that are split already.
    """

    text: str
    codes: np.ndarray
    flags: np.ndarray
    hasher: Hasher
    starts: np.ndarray
    ends: np.ndarray
    firsts: np.ndarray
    lasts: np.ndarray
    edges: np.ndarray
    whole: np.ndarray

    @classmethod
    def of(cls, text: str) -> "_Runs":
        codes = _code_points(text)
        flags = table().take(codes)
        starts, ends = _visible_runs(flags)
        edges = np.zeros(len(codes) + 1, bool)
        edges[starts] = edges[ends] = True
        done = np.zeros(len(starts), bool)
        return cls(text, codes, flags, Hasher.of(codes), starts, ends, starts.copy(), ends.copy(), edges, done)

    def split_whole(self) -> None:
        """Split the runs with marks of several characters by the definition."""
        codes, flags = self.codes, self.flags
        pairs = np.flatnonzero((codes == PERIOD) | (codes == ELLIPSIS) | (codes == DOLLAR) | (flags & HYPHEN > 0))
        mark, after, before = codes[pairs], codes[pairs + 1], codes[pairs - 1]
        # before a period, an ellipsis or a hyphen the same mark again; before a dollar US, C or A
        long = (mark == after) & ((mark == PERIOD) | (mark == ELLIPSIS))
        long |= (mark == DOLLAR) & np.isin(before, list(map(ord, "SCA")))
        long |= (flags[pairs] & flags[pairs + 1] & HYPHEN > 0) & (flags[pairs - 1] & (LETTER | DIGIT) > 0)
        self._by_definition(np.unique(np.searchsorted(self.starts, pairs[long], side="right") - 1))

    def _by_definition(self, chosen: np.ndarray) -> None:
        """Split these runs by `chunk`."""
        for start, end in zip(self.starts[chosen].tolist(), self.ends[chosen].tolist(), strict=True):
            for word in chunk.words_of(self.text[start:end]):
                self.edges[start] = True
                start += len(word)
        self.whole[chosen] = True

    def take_off_marks(self) -> None:
        """Take marks off at both ends, until a special case is left or nothing more comes off."""
        active = np.flatnonzero(~self.whole)
        for turn in count():
            if turn == ROUNDS:
                short = self.ends[active] - self.starts[active] <= SHORT_RUN
                self._by_definition(active[short])
                active = active[~short]
            if not len(active):
                return
            active = active[~self._special(active, self.firsts[active], self.lasts[active])]
            before = self.firsts[active] + self._prefixes(active)
            has_prefix = before > self.firsts[active]
            chosen = np.flatnonzero(has_prefix)
            chosen = chosen[before[chosen] < self.lasts[active[chosen]]]
            self._special(active[chosen], before[chosen], self.lasts[active[chosen]])
            remaining = ~self.whole[active]
            active, before, has_prefix = active[remaining], before[remaining], has_prefix[remaining]
            after = self.lasts[active] - self._suffixes(active, before)
            has_suffix = after < self.lasts[active]
            chosen = np.flatnonzero(has_suffix & ~self.whole[active] & (after > self.firsts[active]))
            self._special(active[chosen], self.firsts[active[chosen]], after[chosen])
            # a run that is split is ready, and nothing more comes off
            changed = (has_prefix | has_suffix) & ~self.whole[active]
            active, before, after = active[changed], before[changed], after[changed]
            self.edges[before] = self.edges[after] = True
            self.firsts[active], self.lasts[active] = before, after
            active = active[before < after]

    def _special(self, runs: np.ndarray, firsts: np.ndarray, lasts: np.ndarray) -> np.ndarray:
        """Split the runs whose part between ``firsts`` and ``lasts`` is a special case; return which these are."""
        forms, seconds = _special_table()
        result = np.zeros(len(runs), bool)
        short = np.flatnonzero(lasts - firsts <= forms.longest)
        rows = forms.find(self.hasher.hashes(firsts[short], lasts[short]))
        hits = short[rows >= 0]
        if not len(hits):
            return result
        result[hits] = True
        rows, first = rows[rows >= 0], firsts[hits]
        self.edges[first] = self.edges[lasts[hits]] = True
        for column in range(seconds.shape[1]):
            inner = seconds[rows, column]
            self.edges[(first + inner)[inner > 0]] = True
        self.whole[runs[hits]] = True
        return result

    def _prefixes(self, runs: np.ndarray) -> np.ndarray:
        """Return the length of the mark that begins what is left of each run: 1, or 0 without one."""
        first = self.firsts[runs]
        is_prefix = self.flags[first] & PREFIX > 0
        # a plus belongs to the number that follows
        plus = np.flatnonzero(is_prefix & (self.codes[first] == PLUS))
        following = first[plus] + 1
        is_prefix[plus] = (following >= self.lasts[runs[plus]]) | (self.flags[following] & DIGIT == 0)
        lengths: np.ndarray = is_prefix.astype(np.int64)
        return lengths

    def _suffixes(self, runs: np.ndarray, first: np.ndarray) -> np.ndarray:
        """Return the length of what comes off the end of the characters from ``first`` on: 0, 1 or 2.

        Runs that may end in a unit or a currency after a number are split by the definition.
        """
        last = self.lasts[runs]
        flags, codes = self.flags, self.codes
        result = np.zeros(len(runs), np.int64)
        ending = flags[last - 1]
        nonempty = first < last
        result[nonempty & (ending & AFFIX > 0)] = 1
        several = np.flatnonzero(last - first >= 2)
        final, previous = codes[last[several] - 1], codes[last[several] - 2]
        period = several[final == PERIOD]
        end = last[period]
        ends_sentence = flags[end - 2] & BEFORE_PERIOD > 0
        third = end - 3 >= first[period]
        both_capitals = (flags[end - 2] & flags[end - 3] & UPPER) > 0
        degree = np.isin(codes[end - 2], list(map(ord, "FCK"))) & (codes[end - 3] == DEGREE)
        result[period[ends_sentence | third & (both_capitals | degree)]] = 1
        possessive = ((final == ord("s")) | (final == ord("S"))) & ((previous == ord("'")) | (previous == ord("’")))
        result[several[possessive]] = 2
        unit = several[ending[several] & UNIT_END > 0]
        after_digit = np.zeros(len(unit), bool)
        for distance in range(1, LONGEST_UNIT + 1):
            place = last[unit] - 1 - distance
            after_digit |= (place >= first[unit]) & (flags[place] & DIGIT > 0)
        self._by_definition(runs[unit[after_digit]])
        return result

    def cut(self) -> None:
        """Cut what is left of each run at hyphens, slashes and the like, unless it is an address."""
        codes, flags = self.codes, self.flags
        marks = flags & (SIGN | HYPHEN | COMPARISON | SYMBOL) > 0
        marks |= (codes == PERIOD) | (codes == COMMA) | (codes == ELLIPSIS)
        places = np.flatnonzero(marks)
        code, kind, before, after = codes[places], flags[places], flags[places - 1], flags[places + 1]
        alone = (kind & SYMBOL > 0) | (code == ELLIPSIS)
        between = (before & DIGIT > 0) & (kind & SIGN > 0) & ((after & DIGIT > 0) | (codes[places + 1] == MINUS))
        between |= (code == PERIOD) & (before & (LOWER | QUOTE) > 0) & (after & (UPPER | QUOTE) > 0)
        between |= (code == COMMA) & (before & after & LETTER > 0)
        joint = kind & (HYPHEN | COMPARISON) > 0
        between |= joint & (before & (LETTER | DIGIT) > 0) & (after & LETTER > 0)
        places, alone = places[alone | between], alone[alone | between]
        runs = np.searchsorted(self.starts, places, side="right") - 1
        first, last = self.firsts[runs], self.lasts[runs]
        inside = ~self.whole[runs] & (first < places) & (places + ~alone < last)
        places, runs = places[inside], runs[inside]
        addresses = self._addresses(np.unique(runs))
        places = places[~np.isin(runs, addresses)] if len(addresses) else places
        self.edges[places] = self.edges[places + 1] = True

    def _addresses(self, runs: np.ndarray) -> np.ndarray:
        """Return those of the runs of which an address is left."""
        periods = np.flatnonzero(self.codes == PERIOD)
        first, last = self.firsts[runs], self.lasts[runs]
        runs = runs[np.searchsorted(periods, last) > np.searchsorted(periods, first)]
        limits = zip(runs.tolist(), self.firsts[runs].tolist(), self.lasts[runs].tolist(), strict=True)
        chosen = [run for run, start, end in limits if chunk.is_address(self.text[start:end])]
        return np.array(chosen, np.int64)

    def words(self) -> np.ndarray:
        """Return where words begin."""
        edges = np.flatnonzero(self.edges[:-1])
        starts: np.ndarray = edges[(self.flags[edges] & SPACE) == 0]
        return starts
