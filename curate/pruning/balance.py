"""What `--balance` asks for: groups of rows, and how many rows each shall keep."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from curate.errors import SchemaError
from curate.pruning import quotas
from curate.tables import batches
from curate.tables.shards import Shard

FLOOR = 0.5  # Sorscher et al. 2022
TEMPERATURE = 1.0  # of the softmax: a standard deviation more of complexity gets e times the rows
GROUPS = "source, label, cluster or cluster.NAME"
FORMS = f"none; {GROUPS}, alone or with :FLOOR (0 to 1), :even or :recall; dbp, dbp:TAU or dbp:TAU:LEAST"
COMPLEXITY, CLUSTERS = "score.density", "cluster.density"


@dataclass(frozen=True)
class Balance:
    """Groups are the values of ``column`` ("": none); every group keeps at least ``floor`` of its share, or a quota.

    Quotas: ``even`` the same for all, ``recall`` by 1 - recall, ``dbp`` by complexity, at least ``least`` rows each.
    """

    column: str = ""
    how: Literal["floor", "even", "recall", "dbp"] = "floor"
    floor: float = 0.0
    temperature: float = TEMPERATURE
    least: int = 1

    @property
    def kind(self) -> str:
        """What a group is called."""
        return self.column.partition(".")[0]


def parse(text: str) -> Balance:
    """Read the value of ``--balance``."""
    what, _, rest = text.partition(":")
    if what == "none" and not rest:
        return Balance()
    if what == "dbp":
        tau, _, least = rest.partition(":")
        try:
            found = Balance(CLUSTERS, "dbp", temperature=float(tau or TEMPERATURE), least=int(least or 1))
        except ValueError:
            raise SchemaError(f"--balance {text!r}: write dbp:TAU or dbp:TAU:LEAST, as in dbp:0.5:20") from None
        if not (0 < found.temperature < np.inf and found.least >= 0):
            raise SchemaError(f"--balance {text!r}: TAU must be above 0 and LEAST at least 0")
        return found
    if what not in ("source", "label", "cluster") and not what.startswith("cluster."):
        raise SchemaError(f"--balance {text!r} is not known here: {FORMS}")
    if rest in ("even", "recall"):
        if rest == "recall" and what != "label":
            raise SchemaError(f"--balance {text!r}: recall is of a class: write label:recall")
        return Balance(what, "even" if rest == "even" else "recall")
    try:
        floor = float(rest or FLOOR)
    except ValueError:
        raise SchemaError(f"--balance {text!r}: {rest!r} is neither a number in [0, 1] nor even") from None
    if not 0 <= floor <= 1:
        raise SchemaError(f"balance floor {floor:g} must lie in [0, 1]")
    return Balance(what, "floor", floor)


def resolve(balance: Balance, found: Sequence[Shard]) -> str:
    """Return the column of score files that groups are read from; ``cluster`` alone must be clear."""
    have = batches.columns(found[0])
    column = balance.column
    clusters = sorted(name for name in have if name.startswith("cluster."))
    if column == "cluster":
        if len(clusters) > 1:
            raise SchemaError(f"--balance cluster: there are {', '.join(clusters)}: name the one you mean")
        column = clusters[0] if clusters else "cluster"
    for shard in found if column and column != "source" else ():
        if column not in (columns := batches.columns(shard)):
            raise SchemaError(f"{shard.path} has no column {column!r}; it has {', '.join(columns)}. {_remedy(column)}")
    if balance.how == "dbp" and COMPLEXITY not in have:
        raise SchemaError(f"{found[0].path} has no column {COMPLEXITY!r}: {_remedy(CLUSTERS)}")
    return column


def _remedy(column: str) -> str:
    if column == "label":
        return "Score data with a column label (text, whole numbers or booleans), or balance by source"
    maker = column.partition(".")[2] or "prototypes"
    return f"Score with --scorer {maker}, which finds clusters, or balance by source"


def shares(
    balance: Balance,
    names: Sequence[str],
    sizes: np.ndarray,
    total: int,
    *,
    keep: float,
    offered: np.ndarray,
    complexity: np.ndarray | None = None,
    recall: Mapping[str, float] | None = None,
) -> np.ndarray:
    """Return (p,) rows that each group keeps: at least (``floor``) or exactly, of ``offered`` (p,) of its ``sizes``."""
    if balance.how == "floor":
        return np.asarray(np.minimum(np.floor(balance.floor * keep * sizes).astype(np.int64), offered))
    if balance.how == "even":
        return quotas.even(offered, total)
    if balance.how == "dbp":
        assert complexity is not None
        found = quotas.softmax(complexity, balance.temperature)
        return quotas.quadratic(found, offered, total, least=balance.least)
    return quotas.weighted(_missed(names, recall or {}) * sizes, offered, total)


def _missed(names: Sequence[str], recall: Mapping[str, float]) -> np.ndarray:
    """1 - recall of every class (Vysogorets et al. 2025, DRoP: shares of class k in proportion to 1 - r_k)."""
    if lost := sorted(set(names) - set(recall)):
        raise SchemaError(
            f"--recall names no class {lost[0]!r}: give NAME=RECALL for each of {', '.join(sorted(names))}"
        )
    if unknown := sorted(set(recall) - set(names)):
        raise SchemaError(f"--recall {unknown[0]}: there is no such class; there are {', '.join(sorted(names))}")
    if bad := [name for name in sorted(recall) if not 0 <= recall[name] <= 1]:
        raise SchemaError(f"--recall {bad[0]}={recall[bad[0]]:g} must lie in [0, 1]")
    return np.array([1 - recall[name] for name in names])
