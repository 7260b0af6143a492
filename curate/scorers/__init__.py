"""Scorers: one pruning metric a file.

In: batches of rows, with the columns that a scorer needs. Out: its score columns, one row for each row.
May use: streaming, encoders, tables and lower floors; no scorer imports torch unless it runs a network.

A file ``curate/scorers/my_metric.py`` with a frozen dataclass ``MyMetric`` is the scorer ``my_metric``. Its docstring
says in the first sentence what the score measures and what a high score means. Options stand under ``Options:`` in the
docstring of ``learn``, or of the class if there is no ``learn``, one paragraph ``name: meaning (default)`` each.

A scorer that learns from the data first also has a function ``learn(corpus, ...)``, which returns the scorer. It runs
functions on the parts of the rows (``curate.tables.corpus``). The file of the scorer may have:

- ``LEARNS_ADDED_FILES = True``, if the scorer can learn from files that are added to a finished job without changing
  older scores;
- ``KEEPS_RESULTS = True``, if what it computes of parts is a result that later jobs read, and not a cache;
- ``READS_RESULTS_OF = "scorer"``, if it reads results that this scorer keeps. It then learns after it;
- a function ``check_scorers(others)``, which raises a `SchemaError` if the job lacks a scorer that it needs. ``others``
  are the names of all scorers with their options;
- a function ``prepares(options)``, which returns scorers whose columns are computed when the rows are first read. Score
  files do not have these columns.

The class may have ``part_arrays``, the names of its fields that hold what was learned about the rows of one part, and
was stored with that part (``corpus.store``). It may have ``computed``, the names of columns that it reads instead of
``needs`` if the job has computed them.

The attribute ``meanings`` of the class declares each score: ``meanings = {"score.my_metric": "hardness"}``. A high
score is better (``quality``), harder (``hardness``) or easier (``easiness``). Score files record this, and the rules of
`prune` use it. If options decide the meaning, ``meanings`` is a property. If a score is the logarithm of an importance
weight, the tuple ``log_weights`` names it too.
"""

from collections.abc import Mapping
from typing import Protocol

import polars as pl

__all__ = ["Scorer"]


class Scorer(Protocol):
    """A pruning metric: a frozen dataclass that reads the columns ``needs`` and adds those of ``schema``.

    Its attribute ``meanings`` maps each score column to ``quality``, ``hardness`` or ``easiness``. A scorer that a user
    wrote may leave it out; then some rules of `prune` need ``--meaning``.

    Columns are ``score.<name>`` (float64), ``emb.<name>`` (vectors), ``logits.<epoch>`` (vectors), ``cluster.<name>``
    (int32, the group of a row), ``reason.<name>`` (text, why a row fails a filter; null if it passes) or
    ``spans.<name>`` (lists of structs with ``start`` and ``end``, places in the text). What a scorer learned is in
    ``arrays``, which is saved and loaded again. It may have a property ``notes``: lines that tell the user about what
    it learned.
    """

    @property
    def needs(self) -> tuple[str, ...]:
        """Columns that it reads."""
        ...

    @property
    def schema(self) -> Mapping[str, pl.DataType]:
        """Columns that it adds, with their types."""
        ...

    def __call__(self, batch: pl.DataFrame) -> pl.DataFrame:
        """Return the new columns only, one row for each row of ``batch``, the same for any cut into batches."""
        ...
