"""Read `--balance`: which groups of rows to protect, and how many rows each of them keeps.

In: the text of the option, and the sizes of groups. Out: the column of groups, and counts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from curate.errors import SchemaError, first_few
from curate.pruning import quotas
from curate.tables import batches
from curate.tables.shards import Shard

FLOOR = 0.5  # the floor of classes in Sorscher et al. 2022 (arXiv 2206.14486)
# Temperature of the softmax of complexities. Complexities are products of two cosine distances and often differ by 0.1.
# At this temperature, a complexity that is higher by 0.1 gives a cluster e times as many rows. The default of the
# authors' code, 0.5, gives all clusters nearly the same share.
TEMPERATURE = 0.1
FORMS = (
    "none; source, label, cluster or cluster.NAME, alone or with :FLOOR (0 to 1), :even or :recall; "
    "dbp, dbp:TAU or dbp:TAU:LEAST"
)
COMPLEXITY, CLUSTERS = "score.density", "cluster.density"  # columns of the scorer `density`


@dataclass(frozen=True)
class Balance:
    """Which groups are balanced, the values of ``column`` ("": no groups), and ``how`` many rows each keeps.

    ``floor``: at least ``floor`` of its share. ``even``: the same number for all. ``recall``: in proportion to
    1 - recall. ``dbp``: in proportion to exp(complexity / temperature) (density-based pruning), and at least ``least``.
    """

    column: str = ""
    how: Literal["floor", "even", "recall", "dbp"] = "floor"
    floor: float = 0.0
    temperature: float = TEMPERATURE
    least: int = 1

    @property
    def kind(self) -> str:
        """Return what a group is called: source, label or cluster."""
        return self.column.partition(".")[0]


def parse(text: str) -> Balance:
    """Read the value of ``--balance``.

    Raises:
        SchemaError: if the text has none of the forms in `FORMS`.
    """
    column, _, rest = text.partition(":")
    if column == "none" and not rest:
        return Balance()
    if column == "dbp":
        return _density_based(text, rest)
    if column not in ("source", "label", "cluster") and not column.startswith("cluster."):
        raise SchemaError(f"--balance {text!r} is not known. Write {FORMS}")
    if rest in ("even", "recall"):
        if rest == "recall" and column != "label":
            raise SchemaError(f"--balance {text!r}: only classes have a recall. Write label:recall")
        return Balance(column, "even" if rest == "even" else "recall")
    try:
        floor = float(rest or FLOOR)
    except ValueError:
        raise SchemaError(
            f"--balance {text!r}: {rest!r} is neither a number nor even. Write {column}:0.5 or {column}:even"
        ) from None
    if not 0 <= floor <= 1:
        raise SchemaError(f"--balance {text!r}: the floor {floor:g} must lie in [0, 1], as in {column}:0.5")
    return Balance(column, "floor", floor)


def _density_based(text: str, rest: str) -> Balance:
    temperature, _, least = rest.partition(":")
    try:
        balance = Balance(CLUSTERS, "dbp", temperature=float(temperature or TEMPERATURE), least=int(least or 1))
    except ValueError:
        raise SchemaError(f"--balance {text!r}: write dbp:TAU or dbp:TAU:LEAST, as in dbp:0.1:20") from None
    if not (0 < balance.temperature < np.inf and balance.least >= 0):
        raise SchemaError(f"--balance {text!r}: TAU must be above 0 and LEAST at least 0, as in dbp:0.1:20")
    return balance


def resolve(balance: Balance, shards: Sequence[Shard]) -> str:
    """Return the column of the score files that holds the groups.

    ``cluster`` alone means the only column whose name starts with "cluster.".

    Raises:
        SchemaError: if a file has no such column, or if there are several.
    """
    present = batches.columns(shards[0])
    column = balance.column
    clusters = sorted(name for name in present if name.startswith("cluster."))
    if column == "cluster":
        if len(clusters) > 1:
            raise SchemaError(
                f"--balance cluster: {shards[0].path} has {first_few(clusters)}. Name one, as in --balance "
                f"{clusters[0]}"
            )
        column = clusters[0] if clusters else "cluster"
    for shard in shards if column and column != "source" else ():
        if column not in (columns := batches.columns(shard)):
            raise SchemaError(
                f"{shard.path} has no column {column!r}; it has {first_few(columns, near=column)}. {_remedy(column)}"
            )
    if balance.how == "dbp" and COMPLEXITY not in present:
        raise SchemaError(f"{shards[0].path} has no column {COMPLEXITY!r}. {_remedy(CLUSTERS)}")
    return column


def _remedy(column: str) -> str:
    if column == "label":
        return "Score data with a column label (text, whole numbers or booleans), or balance by source"
    maker = column.partition(".")[2] or "prototypes"
    return f"Score with --scorer {maker}, which finds clusters, or balance by source"


@dataclass(frozen=True)
class Groups:
    """p groups: their names, their rows (p,), and the rows (p,) that remain ``offered`` after trimming.

    ``complexity`` (p,) is needed by ``dbp`` only, and ``recall`` by ``recall`` only.
    """

    names: Sequence[str]
    sizes: np.ndarray
    offered: np.ndarray
    complexity: np.ndarray | None = None
    recall: Mapping[str, float] | None = None


def group_rows(balance: Balance, groups: Groups, total: int, *, keep: float) -> np.ndarray:
    """Return the number of rows (p,) that each group keeps: the minimum for ``floor``, else the exact number.

    ``keep`` is the share of all rows that is kept, and ``total`` their number. Numbers for ``recall`` may sum to a few
    rows less than ``total``: see `quotas.by_recall`.

    Raises:
        SchemaError: if recalls are missing or senseless, or the groups do not have ``total`` rows.
    """
    if balance.how == "floor":
        # Rounded down, as in the guard on sources: a floor of sources then passes a guard of the same size.
        floors = np.floor(balance.floor * keep * groups.sizes).astype(np.int64)
        return np.asarray(np.minimum(floors, groups.offered))
    if balance.how == "even":
        return quotas.even(groups.offered, total)
    if balance.how == "dbp":
        assert groups.complexity is not None
        shares = quotas.softmax(groups.complexity, balance.temperature)
        return quotas.quadratic(shares, groups.offered, total, least=balance.least)
    return quotas.by_recall(_missed(groups.names, groups.recall or {}), groups.offered, total)


def _missed(names: Sequence[str], recall: Mapping[str, float]) -> np.ndarray:
    """Return 1 - recall of every class, (p,)."""
    if missing := sorted(set(names) - set(recall)):
        raise SchemaError(
            f"--recall does not name the class {missing[0]!r}. Give NAME=RECALL for each of {first_few(sorted(names))}"
        )
    if unknown := sorted(set(recall) - set(names)):
        raise SchemaError(f"--recall {unknown[0]}: there is no such class. The classes are {first_few(sorted(names))}")
    if bad := [name for name in sorted(recall) if not 0 <= recall[name] <= 1]:
        raise SchemaError(f"--recall {bad[0]}={recall[bad[0]]:g} must lie in [0, 1]")
    return np.array([1 - recall[name] for name in names])
