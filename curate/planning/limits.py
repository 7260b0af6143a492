"""The limits that a mixture must keep, such as most passes over a pool or most money to pay.

In: numbers from the user. Out: `Limits` and `Group`, plain records without checks; `region_of_limits` checks them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Group:
    """A set of pools whose shares together must lie in [low, high], such as all pools of one licence.

    ``pools`` are names or patterns: ``*.de`` matches every name that ends with ``.de``.
    """

    pools: tuple[str, ...]
    low: float = 0.0
    high: float = 1.0

    @property
    def name(self) -> str:
        """The pools, separated by commas."""
        return ",".join(self.pools)


@dataclass(frozen=True)
class Limits:
    """The limits that every planned mixture must keep. Without arguments nothing is limited.

    Attributes:
        max_epochs: most passes over the unique tokens of any pool.
        min_weight: smallest share of training tokens, by pool.
        max_weight: largest share, by pool.
        fixed: exact share, by pool.
        groups: limits on the sum of several shares.
        ordered: pools of which none may have a larger share than the one before it (quality buckets, best first).
        money: most to pay, in the unit of the pools' ``cost_per_token``. A token is paid once, however often training
            sees it. Pools without a cost are free.
    """

    max_epochs: float | None = None
    min_weight: Mapping[str, float] = field(default_factory=dict)
    max_weight: Mapping[str, float] = field(default_factory=dict)
    fixed: Mapping[str, float] = field(default_factory=dict)
    groups: tuple[Group, ...] = ()
    ordered: tuple[str, ...] = ()
    money: float | None = None


NO_LIMITS = Limits()
