"""How a long job reports its progress, without printing."""

from collections.abc import Callable

Progress = Callable[[str, int, int], None]  # what is counted, how many are done, of how many


def silent(what: str, done: int, total: int) -> None:
    """Report to nobody."""
