"""Give the columns of a scorer another name, so that a job can have the same scorer twice.

In: a scorer and its options, among them ``name``. Out: the scorer, whose columns have that name.
``duplicates:against=FILES,name=leaks`` adds ``score.leaks``.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import cast

import polars as pl

from curate import open_sets
from curate.errors import SchemaError
from curate.scorers import Scorer

OPTION = "name"
# Kinds of columns that are renamed. Vectors and predictions are named after encoders and epochs, and `tokens` is one
# column for all jobs.
RENAMED = ("score", "reason", "spans", "cluster")
ALLOWED = re.compile(r"\w+", re.ASCII)


@dataclass(frozen=True)
class RenamedScorer:
    """A scorer, or the class of one, with other names for the columns that it adds.

    ``base`` is the part of the names that ``name`` takes the place of: ``cartography`` in
    ``score.cartography_confidence``.
    """

    scorer: Scorer
    base: str
    name: str

    @property
    def needs(self) -> tuple[str, ...]:
        """Columns that it reads."""
        needs = getattr(self.scorer, "needs", ())
        # A class may compute it from options, which are not known yet.
        return needs if isinstance(needs, tuple) else ()

    @property
    def computed(self) -> tuple[str, ...]:
        """Columns that it reads instead, if the job has computed them."""
        return tuple(getattr(self.scorer, "computed", ()))

    @property
    def schema(self) -> Mapping[str, pl.DataType]:
        """Columns that it adds, with their types; none of a class whose columns depend on options."""
        schema = self.scorer.schema
        return {self.renamed(column): kind for column, kind in schema.items()} if isinstance(schema, Mapping) else {}

    @property
    def meanings(self) -> Mapping[str, object]:
        """The meaning of each score, as the scorer declares it."""
        meanings = getattr(self.scorer, "meanings", {})
        return (
            {self.renamed(column): word for column, word in meanings.items()} if isinstance(meanings, Mapping) else {}
        )

    @property
    def log_weights(self) -> tuple[str, ...]:
        """Scores that are the logarithm of an importance weight."""
        logs = getattr(self.scorer, "log_weights", ())
        return tuple(map(self.renamed, logs)) if isinstance(logs, Collection) else ()

    @property
    def notes(self) -> tuple[str, ...]:
        """Lines that tell the user about what the scorer learned."""
        return tuple(f"{self.name}: {note}" for note in getattr(self.scorer, "notes", ()))

    def renamed(self, column: str) -> str:
        """Return the new name of a column that the scorer adds."""
        kind, _, rest = column.partition(".")
        if kind not in RENAMED:
            return column
        if rest == self.base or rest.startswith(f"{self.base}_"):
            return f"{kind}.{self.name}{rest.removeprefix(self.base)}"
        # `label_quality` also adds `score.label_joint`.
        return f"{kind}.{self.name}_{rest}"

    def __call__(self, batch: pl.DataFrame) -> pl.DataFrame:
        """Score a batch."""
        return self.scorer(batch).rename(self.renamed)


def split_name(spec: str) -> tuple[str, str, dict[str, open_sets.Value]]:
    """Return the scorer, the name for its columns (empty: its own), and the options that it takes.

    Raises:
        SchemaError: if the name for its columns has other characters than letters, digits and "_".
    """
    scorer, options = open_sets.parse(spec)
    if OPTION not in options or OPTION in open_sets.option_types("scorers", scorer):
        return scorer, "", options
    name = str(options.pop(OPTION))
    if not ALLOWED.fullmatch(name):
        raise SchemaError(f"{scorer}: name={name} may have letters, digits and _ only")
    return scorer, name, options


def with_name(spec: str, scorer: Scorer) -> Scorer:
    """Return a scorer whose columns have the name that ``spec`` gives them, or the scorer itself if it gives none.

    Raises:
        SchemaError: if no column of the scorer can have another name.
    """
    member, name, _ = split_name(spec)
    if not name:
        return scorer
    schema = getattr(scorer, "schema", {})
    columns = list(schema) if isinstance(schema, Mapping) else []
    scores = [column.removeprefix("score.") for column in columns if column.startswith("score.")]
    # The columns of a user's own scorer need not have the name of its class.
    base = scores[0] if len(scores) == 1 and open_sets.is_own(member) else member
    renamed = RenamedScorer(scorer, base, name)
    if columns and all(renamed.renamed(column) == column for column in columns):
        raise SchemaError(f"{member}: name={name} has no effect, since it adds {', '.join(columns)}. Leave it out")
    return cast(Scorer, renamed)


def build(spec: str) -> Scorer:
    """Build a scorer that does not learn from the data."""
    member, _, options = split_name(spec)
    open_sets.check_options(member, options, open_sets.option_types("scorers", member))
    return with_name(spec, cast(Scorer, open_sets.implementation("scorers", member)(**options)))


def described(spec: str) -> Scorer:
    """Return what tells the columns and meanings of a scorer that learns, before it has learned: its class."""
    member, _, _ = split_name(spec)
    return with_name(spec, cast(Scorer, open_sets.implementation("scorers", member)))
