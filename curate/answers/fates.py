"""Hold why rows were kept or removed, and show it as text, a table or JSON."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import cast

import polars as pl

from curate.answers.near_copies import NearCopy
from curate.answers.score_ranks import CutEnds
from curate.errors import amount

SHOWN_CHARACTERS = 200  # of a value, such as a text that a requirement reads


@dataclass(frozen=True)
class StandingScore:
    """A column of a row's score file: its value, its meaning (None: none is declared), and its rank.

    ``below`` is the share of all rows with a lower value; None for a value that is not a number.
    """

    column: str
    value: object
    meaning: str | None
    below: float | None

    def __str__(self) -> str:
        """Return the column, the value and where it stands, in one line."""
        meaning = f", {self.meaning}" if self.meaning else ""
        place = "" if self.below is None else f" (above {self.below:.1%} of the rows{meaning})"
        return f"{self.column} = {_shown(self.value)}{place}"


@dataclass(frozen=True)
class RequirementResult:
    """Whether a row meets a requirement (None: the stored files do not tell), and the values that decided.

    ``regrouped`` says that groups of duplicates were formed again among the rows that meet the other requirements, so
    that the stored score alone did not decide. ``unread`` are columns of the input that could not be read: then the
    stored reason tells the result.
    """

    requirement: str
    met: bool | None
    values: Mapping[str, object]
    regrouped: bool = False
    unread: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return the requirement and its result, in one line."""
        values = [f"{name} = {_shown(value)}" for name, value in self.values.items()]
        values += [f"{name} could not be read" for name in self.unread]
        how = " before groups were formed again among the rows that meet the others" if self.regrouped else ""
        # Where the input could not be read, only the reason tells: the first requirement that the row fails.
        undecided = "not known" if self.unread else "not applied"
        result = {True: "met", False: "NOT met", None: f"{undecided}, since the row fails another requirement"}
        return f"{result[self.met]}: {self.requirement} ({', '.join(values)}{how})"


@dataclass(frozen=True)
class RankedScore:
    """The ranked decision that the row took part in: its score, its rule, and where it cut."""

    by: str
    rule: str
    cut: CutEnds

    def __str__(self) -> str:
        """Return the rule and the scores on both sides of the cut, in one line."""
        sides = [
            f"{name} rows have {ends[0]:.6g} to {ends[1]:.6g}"
            for name, ends in (("kept", self.cut.kept), ("dropped", self.cut.dropped))
            if ends is not None
        ]
        ends = (self.cut.kept, self.cut.dropped)
        # The two intervals share an end where the cut lies among rows with equal scores.
        ties = ends[0] is not None and ends[1] is not None and (ends[0][0] == ends[1][1] or ends[0][1] == ends[1][0])
        order = "; rows with equal scores come in the order of the hashes of their ids" if ties else ""
        return f"rule {self.rule} by {self.by}: {'; '.join(sides)}{order}"


@dataclass(frozen=True)
class FilledCap:
    """The cap that removed a row, and the score by which rows come first; empty if hashes of their ids decide."""

    cap: str
    by: str

    def __str__(self) -> str:
        """Return what filled the cap, in one line."""
        order = f"by {self.by}" if self.by else "by the hash of the id"
        return f"cap {self.cap}: other rows with the same value come first {order}, and fill what the cap allows"


@dataclass(frozen=True)
class RowFate:
    """One row: where it is, its scores, the requirements, the ranked decision, near copies, and the reason.

    ``row`` is its number in the score file of ``file``, from 0. ``reason`` is empty where nothing was decided.
    ``rows_with_id`` is how many rows have its id.
    """

    id: str
    source: str
    tokens: int
    file: str
    row: int
    reason: str
    scores: tuple[StandingScore, ...]
    requirements: tuple[RequirementResult, ...]
    ranked: RankedScore | None
    copies: tuple[NearCopy, ...]
    rows_with_id: int = 1
    cap: FilledCap | None = None

    @property
    def kept(self) -> bool | None:
        """Return whether the row is kept; None where nothing was decided."""
        return is_kept(self.reason) if self.reason else None

    def lines(self) -> list[str]:
        """Return the lines that people read: the fate first, then what led to it."""
        lines = [f"{self.id}: {_fate(self.reason) if self.reason else 'not decided: the rows were not pruned yet'}"]
        repeated = f", one of {self.rows_with_id:,} rows with this id" if self.rows_with_id > 1 else ""
        tokens = amount(self.tokens, "token")
        lines.append(f"  row {self.row} of {self.file}, source {self.source}, {tokens}{repeated}")
        lines += [f"  {met}" for met in self.requirements]
        lines += [f"  {decision}" for decision in (self.cap, self.ranked) if decision is not None]
        lines += [f"  {score}" for score in self.scores]
        for copy in self.copies:
            word = "equals" if copy.similarity == 1 else f"is like (similarity {copy.similarity:.3f})"
            fate_of_copy = f": {_fate(copy.reason)}" if copy.reason else ""
            lines.append(f"  {word} {copy.id}{fate_of_copy}")
        return lines

    def record(self) -> dict[str, object]:
        """Return the row as plain values, ready for JSON."""
        return cast(dict[str, object], _plain({**asdict(self), "kept": self.kept}))


@dataclass(frozen=True, repr=False)
class Fates:
    """Why rows were kept or removed: one record for each id, in the order of the ids.

    ``notes`` name the inputs that could not be read, a line for each.
    """

    rows: tuple[RowFate, ...]
    notes: tuple[str, ...] = ()

    def record(self) -> dict[str, object]:
        """Return the rows and the notes as plain values, ready for JSON."""
        return {"rows": [row.record() for row in self.rows], "notes": list(self.notes)}

    def table(self) -> pl.DataFrame:
        """Return one line for each row and column of its score file: id, reason, column, value (as text), below."""
        schema = {"id": pl.String, "reason": pl.String, "column": pl.String, "value": pl.String, "below": pl.Float64}
        lines = [
            (row.id, row.reason, score.column, _shown(score.value), score.below)
            for row in self.rows
            for score in row.scores
        ]
        return pl.DataFrame(lines, schema=schema, orient="row")

    def __repr__(self) -> str:
        """Return all that led to the fate of each row, as lines of text, and the notes."""
        lines = [line for row in self.rows for line in row.lines()]
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])

    def _repr_html_(self) -> str:
        """Return the text, for a notebook."""
        import html

        return f"<pre>{html.escape(repr(self))}</pre>"


def is_kept(reason: str) -> bool:
    """Return whether a reason is that of a kept row: "kept", or "kept: " and what keeps it, such as a floor."""
    return reason == "kept" or reason.startswith("kept: ")


def _fate(reason: str) -> str:
    return reason if is_kept(reason) else f"removed: {reason}"


def _shown(value: object) -> str:
    """Return a value as text on one line; of a long one its beginning."""
    text = f"{value:.6g}" if isinstance(value, float) else " ".join(str(value).split())
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[: SHOWN_CHARACTERS - 3]}..."


def _plain(value: object) -> object:
    """Return a value as JSON can hold it: dates and other values as text, and numbers that are not finite as null."""
    if isinstance(value, Mapping):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, str | int) else str(value)
