"""The contract of an export."""

from typing import Protocol

from curate.pool.mixture import Mixture


class Export(Protocol):
    """Writes a mixture as the file that a trainer reads. A frozen dataclass; its fields are the options."""

    @property
    def suffix(self) -> str:
        """Ending of the file's name, with the dot."""
        ...

    @property
    def usual(self) -> str:
        """Where the data of a pool lies if nobody says: a path with ``{pool}`` in it."""
        ...

    @property
    def reads(self) -> tuple[str, ...]:
        """Endings of the input files of curate that this trainer reads as they are; empty if it reads none."""
        ...

    def render(self, mixture: Mixture) -> str:
        """Return the text of the file. Every part of the mixture has at least one path.

        Raises:
            SchemaError: something that the trainer cannot express; the message says what to change.
        """
        ...
