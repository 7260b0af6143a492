"""Record what plans were made from: the arguments, as the command line spells them, and the inputs.

In: the arguments of the job. Out: `Provenance`, whose `made_by` goes into plan.json.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl

from curate.planning.limits import Limits
from curate.pool.pool import Budget, Pool, to_json
from curate.storage.artifacts import Provenance
from curate.tables import frames


def provenance(arguments: Mapping[str, object], pools: str | Path | Sequence[Pool], seed: int) -> Provenance:
    """Return the record of a job whose pools came from a path or from memory."""
    if isinstance(pools, str | Path):
        return Provenance(arguments, (Path(pools),), {}, seed)
    # Pools in memory have no file to hash, so their rows of pools.json are hashed.
    lines = pl.DataFrame({"pool": [json.dumps(row, sort_keys=True) for row in to_json(pools)]})
    return Provenance(arguments, (), {"pools": frames.content_hash(lines)}, seed)


def budget_arguments(budgets: Sequence[Budget]) -> dict[str, object]:
    """Return budgets as the options of `curate plan`."""
    text = ",".join(f"{budget.tokens:g}:{budget.params:g}" for budget in budgets)
    return {"budget": text, "frontier": None, "params": None}


def limit_arguments(limits: Limits) -> dict[str, object]:
    """Return limits as the options of `curate plan`."""
    groups = []
    for group in limits.groups:
        groups += [f"{group.name}<={group.high:g}"] if group.high < 1 else []
        groups += [f"{group.name}>={group.low:g}"] if group.low > 0 else []
    return {
        "max_epochs": limits.max_epochs,
        "min_weight": pairs(limits.min_weight),
        "max_weight": pairs(limits.max_weight),
        "fixed": pairs(limits.fixed),
        "group": groups,
        "ordered": ",".join(limits.ordered) or None,
        "money": limits.money,
    }


def pairs(shares: Mapping[str, float]) -> list[str]:
    """Return numbers by name as NAME=NUMBER."""
    return [f"{name}={share:g}" for name, share in shares.items()]
