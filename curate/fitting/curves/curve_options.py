"""The curves by name: what each predicts, and its options.

This file does not import torch, so that `curate list laws` is instant. `kinds` says how each curve is fitted.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Literal, get_args

from curate import open_sets
from curate.errors import SchemaError

MetricInput = Literal["error", "translation", "accuracy"]


@dataclass(frozen=True)
class AnnealingOptions:
    """Predicts the loss at each step of a learning-rate schedule, by a law with four parameters."""


@dataclass(frozen=True)
class MultiPowerOptions:
    """Predicts the loss at each step of a learning-rate schedule, by a law with seven parameters."""


@dataclass(frozen=True)
class RelearnOptions:
    """Describes the loss at each step of runs whose training was continued on other data."""


@dataclass(frozen=True)
class PruningCurvesOptions:
    """Predicts the error from the size of pruned data, by a power law for each kept share."""


@dataclass(frozen=True)
class DownstreamOptions:
    """Predicts a metric of a run from its measured losses, its tokens or its compute.

    Options:
        kind: what the curve reads. error: losses. translation: tokens. accuracy: compute.
    """

    kind: MetricInput = "error"

    def __post_init__(self) -> None:
        """Check that there is such a kind."""
        if self.kind not in get_args(MetricInput):
            raise SchemaError(f"downstream has no kind {self.kind!r}: choose one of {', '.join(get_args(MetricInput))}")


OPTIONS: Mapping[str, type] = {
    "annealing": AnnealingOptions,
    "downstream": DownstreamOptions,
    "multi_power": MultiPowerOptions,
    "pruning_curves": PruningCurvesOptions,
    "relearn": RelearnOptions,
}


def parse(spec: str) -> object:
    """Return the options that ``curve:key=value`` gives to a curve of `OPTIONS`.

    Raises:
        CurateError: if the curve has no such option.
        SchemaError: if a value is impossible.
    """
    name, values = open_sets.parse(spec)
    open_sets.check_options(name, values, {field.name: field.type for field in fields(OPTIONS[name])})
    return OPTIONS[name](**values)
