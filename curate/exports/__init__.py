"""The contract of an export: a mixture as the file that a trainer reads, checked against that trainer's own code."""

from typing import Protocol

from curate.pool.mixture import Mixture


class Export(Protocol):
    """A frozen dataclass of options. The file name is the name on the command line."""

    @property
    def suffix(self) -> str:
        """Ending of the file's name, with the dot."""
        ...

    @property
    def usual(self) -> str:
        """Where a pool's data lies if nobody says: a path with ``{pool}`` in it."""
        ...

    @property
    def reads(self) -> tuple[str, ...]:
        """Endings of the files that this trainer reads as curate's inputs are; empty: it needs them converted."""
        ...

    def render(self, mixture: Mixture) -> str:
        """Return the file's text; the same mixture gives the same text.

        Every part has at least one path. Errors: what the trainer cannot express, and what to change.
        """
        ...
