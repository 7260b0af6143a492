"""A score that is computed from other columns of the same row."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import polars as pl

from curate.errors import CurateError, SchemaError, amount
from curate.tables import meanings
from curate.tables.sql import RowExpression, WrittenSql, detail, row_expression

NAME = re.compile(r"[A-Za-z_]\w*")
REMEDY = "Write an expression over the columns of one row, such as score.dsir / tokens"


@dataclass(frozen=True)
class Expression:
    """An expression in SQL over scores and columns of the same row; ``meaning`` says what a high value means.

    ``score.NAME`` (float64) is the value; true is 1 and false is 0. It reads the scores of other scorers of the job, in
    any order, and all columns of the input, such as ``tokens``, ``text`` and ``meta.url`` (a field of a struct). Names
    of scores need no quotes: ``score.dsir / tokens``. A value that is null, NaN or infinite is an error: write
    ``coalesce(meta.likes, 0)`` or ``x / nullif(tokens, 0)`` with ``coalesce``. Without ``meaning`` the score serves
    ``prune --require`` and the rules that need no meaning; give ``prune --meaning NAME=...`` to rank by it.

    Options:
        name: the score is ``score.NAME`` (required).
        meaning: quality, hardness or easiness (default: none).
        sql: the expression in SQL; it comes last and may hold commas: ``expression:name=ratio,sql=a / b`` (required).
    """

    name: str = ""
    meaning: str = ""
    sql: str = ""
    meaning_is_optional = True

    def __post_init__(self) -> None:
        """Check the options, and read the expression."""
        if not NAME.fullmatch(str(self.name)) or not self.sql:
            raise SchemaError(
                f"expression: name={self.name!r} and sql={self.sql!r} are both needed, and a name has letters, digits "
                "and _ only: expression:name=ratio,sql=score.dsir / tokens"
            )
        if self.meaning:
            meanings.checked(self.meaning, f"{self._where}: meaning")
        if self.column in self.needs:
            raise SchemaError(f"{self._where} reads {self.column}, which it makes itself. Give it another name=")

    @property
    def column(self) -> str:
        """The column that it adds."""
        return f"score.{self.name}"

    @property
    def schema(self) -> Mapping[str, pl.DataType]:
        """Columns that it adds."""
        return {self.column: pl.Float64()}

    @property
    def meanings(self) -> Mapping[str, str]:
        """What a high score means, if the user said so."""
        return {self.column: self.meaning} if self.meaning else {}

    @cached_property
    def needs(self) -> tuple[str, ...]:
        """Columns that it reads."""
        return self._parsed.columns

    def check_columns(self, columns: Mapping[str, pl.DataType]) -> None:
        """Check an expression against the columns that there will be, before any row is read.

        Raises:
            SchemaError: if a column is unknown (the message gives the nearest name), or the value is not a number.
        """
        self._parsed.check_columns(columns)
        try:
            kind = pl.LazyFrame(schema=columns).select(self._value).collect_schema()[self.column]
        except pl.exceptions.PolarsError as error:
            raise SchemaError(f"{self._where} cannot be computed: {detail(error)}") from None
        if not (kind.is_numeric() or kind == pl.Boolean):
            raise SchemaError(f"{self._where} gives {kind}, which is no number. Write a number or a comparison")

    def __call__(self, batch: pl.DataFrame) -> pl.DataFrame:
        """Score a batch."""
        try:
            values = batch.select(self._value)[self.column]
        except pl.exceptions.PolarsError as error:
            raise CurateError(f"{self._where} cannot be computed: {detail(error)}") from None
        # An expression without columns is one value.
        values = values.new_from_index(0, batch.height) if len(values) != batch.height else values
        bad = ~values.cast(pl.Float64).is_finite().fill_null(False)
        if bad.any():
            first = int(bad.arg_max() or 0)
            shown = "null" if values[first] is None else values[first]
            rows = amount(int(bad.sum()), "row")
            # The expression is at fault, and not the file: other files have such rows too.
            raise CurateError(
                f"{self._where} is {shown} in {rows}, the first with id {batch['id'][first]!r}. "
                "Say what such rows score: coalesce(..., 0), and nullif(..., 0) below a division"
            )
        return pl.DataFrame([values.cast(pl.Float64)])

    @property
    def _where(self) -> str:
        return f"expression {self.name} ({self.sql})"

    @cached_property
    def _parsed(self) -> RowExpression:
        return row_expression(WrittenSql(self.sql, self._where, REMEDY))

    @property
    def _value(self) -> pl.Expr:
        return self._parsed.polars.alias(self.column)
