"""A table with its name: what the functions of this room take and return."""

from dataclasses import dataclass, replace

import polars as pl


@dataclass(frozen=True)
class NamedTable:
    """A table, how errors name it, and notes on what was changed when it was read.

    ``own``: whether a job of this package wrote the table, so that its counts are single parameters and tokens.
    """

    frame: pl.DataFrame
    origin: str
    notes: tuple[str, ...] = ()
    own: bool = False

    def changed(self, frame: pl.DataFrame, *notes: str) -> "NamedTable":
        """Return the table with another frame and further notes."""
        return replace(self, frame=frame, notes=(*self.notes, *notes))
