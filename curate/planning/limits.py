"""What a user may ask of a mixture."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Group:
    """Pools whose shares together lie in [low, high], such as those of a licence or a language; ``pools`` are names or
    patterns (``*.de``)."""

    pools: tuple[str, ...]
    low: float = 0.0
    high: float = 1.0

    @property
    def name(self) -> str:
        """The pools, comma separated."""
        return ",".join(self.pools)


@dataclass(frozen=True)
class Limits:
    """What a plan must keep to.

    ``max_epochs``: most passes over any pool. ``min_weight``, ``max_weight``, ``fixed``: shares by pool. ``groups``.
    ``ordered``: pools of which none may have more than the one before it (buckets from best to worst).
    ``money``: most to pay, in the unit of the pools' ``cost_per_token``; a token is paid once, however often it is
    seen, and pools without a cost are free.
    """

    max_epochs: float | None = None
    min_weight: Mapping[str, float] = field(default_factory=dict)
    max_weight: Mapping[str, float] = field(default_factory=dict)
    fixed: Mapping[str, float] = field(default_factory=dict)
    groups: tuple[Group, ...] = ()
    ordered: tuple[str, ...] = ()
    money: float | None = None
