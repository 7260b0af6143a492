"""Advise on the rule `auto`: count the rows that it decides about, and find the dimension of the data.

In: the budget of the rule, and the score files. Out: a `RuleAdvice`.
"""

from collections.abc import Sequence

import numpy as np

from curate.description import describe
from curate.engines import Engine
from curate.errors import SchemaError, first_few
from curate.pruning import auto_rule
from curate.pruning.auto_rule import RuleAdvice
from curate.pruning.eligible import Eligible
from curate.pruning.rules import Rule
from curate.tables import batches, readers, scored
from curate.tables.row_ranges import RowRange
from curate.tables.shards import Shard


def advice(
    rule: Rule,
    shards: Sequence[Shard],
    *,
    dimension: float | None,
    embedding: str,
    engine: Engine,
    eligible: Eligible | None,
) -> RuleAdvice:
    """Return what ``auto`` chooses, by the eligible rows and the dimension of the data.

    Without a ``dimension``, it is estimated from the vectors of all rows in the column ``embedding``; "" is the only
    column of vectors.

    Raises:
        SchemaError: if the dimension cannot be estimated, or nothing says how much is kept.
    """
    if dimension is None:
        embedding = _vector_column(shards, embedding)
        dimension = describe.dimension(shards, embedding, seed=rule.seed, engine=engine)
    elif embedding:
        raise SchemaError("--dimension and --embedding exclude each other: the dimension is estimated from the vectors")
    rows = sum(_rows(shard, eligible) for shard in shards)
    if rule.budget is None:
        raise SchemaError("--rule auto chooses by how much is kept. Give --keep, --keep-rows or --keep-tokens too")
    total = rows if not rule.budget.in_tokens else sum(_tokens(shard, eligible) for shard in shards)
    return auto_rule.advise(rows, dimension, min(1.0, rule.budget.share(total)), estimated_from=embedding)


def _rows(shard: Shard, eligible: Eligible | None) -> int:
    """Return the eligible rows of a score file."""
    if eligible is not None:
        return int(eligible.mask(RowRange(shard)).sum())
    # Score files are Parquet, so their footers know the rows.
    return readers.head(shard).rows or 0


def _tokens(shard: Shard, eligible: Eligible | None) -> int:
    """Return the tokens of the eligible rows of a score file."""
    rows = RowRange(shard)
    counts = [frame["tokens"].to_numpy() for frame in scored.light_batches(rows, (), ("tokens",))]
    tokens = np.concatenate([np.zeros(0, np.int64), *counts])
    return int((tokens if eligible is None else tokens[eligible.mask(rows)]).sum())


def _vector_column(shards: Sequence[Shard], wanted: str) -> str:
    """Return the column of vectors in score files: the one that was named, or the only one."""
    present = [name for name in batches.columns(shards[0]) if name.startswith("emb.")]
    if wanted in present or (not wanted and len(present) == 1):
        return wanted or present[0]
    columns = f"the score files have {first_few(present)}" if present else "the score files have no vectors"
    problem = f"{wanted!r} is not there" if wanted else "--rule auto needs the intrinsic dimension of the data"
    raise SchemaError(
        f"{problem}: {columns}. Give --embedding COLUMN, score with --scorer embedding too, or give --dimension D "
        "(`curate describe` estimates it)"
    )
