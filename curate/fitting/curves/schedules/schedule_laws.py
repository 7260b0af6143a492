"""The laws of schedules by name: each predicts the loss after a step from the learning rates of all steps so far."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from curate.fitting.curves.schedules import annealing, multi_power

SMALLEST_LOSS = 1e-6  # keeps the logarithm finite while the solver passes through negative losses


@dataclass(frozen=True)
class ScheduleLaw:
    """A law that predicts the loss after each step from the learning rates of all steps so far.

    ``features`` reads (t,) rates, the number of steps that warm up, and n steps; it returns tensors (n, ...), of which
    the first is the area under the rates. ``curve`` returns the (n,) losses from parameters and features. All
    parameters are positive. ``starts`` returns where to start a fit. ``prior`` holds the standard deviations of the
    logarithms of parameters around the start.
    """

    parameters: tuple[str, ...]
    features: Callable[[np.ndarray, int, np.ndarray], tuple[Tensor, ...]]
    curve: Callable[..., Tensor]
    starts: Callable[[float, float, float, float], list[list[float]]]
    prior: Mapping[str, float]


LAWS: Mapping[str, ScheduleLaw] = {
    module.__name__.rpartition(".")[2]: ScheduleLaw(
        module.PARAMETERS, module.features, module.curve, module.starts, module.PRIOR
    )
    for module in (annealing, multi_power)
}
