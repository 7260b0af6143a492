"""Note the lines of a file that cannot be read while it is read, or skip those that were noted before."""

from array import array
from collections.abc import Iterable

from curate.errors import SchemaError
from curate.tables.shards import Shard

# Of each file. All numbers are noted, since later jobs skip these lines; reasons beyond these tell nothing new.
MOST_REASONS = 1000
# A file of which none of so many first lines can be read is of another kind: then the file is set aside, not its lines.
HOPELESS_LINES = 1000


class BadLines:
    """The lines of one file that cannot be read, by the numbers that automatic ids have, which start from 0.

    Without ``recorded``, every bad line is noted. With it, these lines are skipped unread, and any other bad line is an
    error: it would shift all rows after it against the score file.
    """

    def __init__(self, recorded: Iterable[int] | None = None) -> None:
        """Begin with no bad lines, or with those that were recorded."""
        self.numbers = array("q", () if recorded is None else recorded)
        self.reasons: dict[int, str] = {}  # of the first bad lines
        self.last_reason = -1  # the largest number among them
        self.skipped = None if recorded is None else frozenset(self.numbers)

    def __len__(self) -> int:
        """Return the number of bad lines."""
        return len(self.numbers)

    def add(self, number: int, reason: str) -> None:
        """Note a bad line; the reason begins with its place, such as ``line 8501: ...``."""
        self.numbers.append(number)
        if len(self.reasons) == MOST_REASONS:
            # Lines that are too long are noted before the ones in front of them are parsed.
            if number > self.last_reason:
                return
            del self.reasons[self.last_reason]
            self.last_reason = max(self.reasons)
        self.reasons[number] = reason
        self.last_reason = max(self.last_reason, number)

    def first(self, shard: Shard) -> str:
        """Return the first bad line of a file with its place and the reason; empty if there is none."""
        return f"{shard.path}, {self.reasons[min(self.reasons)]}" if self.reasons else ""


def refuse(shard: Shard, bad_lines: BadLines | None, number: int, reason: str) -> None:
    """Note a bad line, or raise SchemaError if lines may not be set aside here."""
    if bad_lines is None:
        raise SchemaError(f"{shard.path}, {reason}. Repair or remove it")
    if bad_lines.skipped is not None:
        raise SchemaError(f"{shard.path}, {reason}. Repair or remove it, and score the data again")
    bad_lines.add(number, reason)


def check_hopeless(shard: Shard, bad_lines: BadLines | None, rows: int, *, ended: bool) -> None:
    """Raise SchemaError if no line of a file could be read: neither so far in many lines, nor at its end."""
    if rows or bad_lines is None or bad_lines.skipped is not None or not len(bad_lines):
        return
    if ended or len(bad_lines) >= HOPELESS_LINES:
        count = f"{'' if ended else 'first '}{len(bad_lines)}"
        lines = f"none of its {count} lines can" if len(bad_lines) > 1 else "its only line cannot"
        first = bad_lines.reasons[min(bad_lines.reasons)]
        raise SchemaError(f"{shard.path}: {lines} be read; {first}. Repair or remove the file")
