"""Declare the types of the options of `curate.scoring.score.score`, whose documentation explains them.

With an output folder `score` takes further options, and returns another type. Here each type stands once.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, TypedDict

from curate.engines import Engine
from curate.progress import Progress


class FrameOptions(TypedDict, total=False):
    """Options of every call, also of one that returns the scores as a frame."""

    carry: str | Sequence[str]
    text_column: str
    columns: str | Mapping[str, str]
    join: str | Sequence[str]
    render: str
    batch_rows: int
    document_bytes: int
    dtype: str
    max_bad: float
    engine: Engine | None
    progress: Progress


class FolderOptions(FrameOptions, total=False):
    """Options of a call that writes a folder."""

    on_error: Literal["quarantine", "fail"]
    restart: bool
    relearn: bool
    cache: bool
    take_over: bool
