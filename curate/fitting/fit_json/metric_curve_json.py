"""Write the fitted curve of a downstream metric as an entry of ``laws`` in fit.json, and read it."""

from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np
import torch
from torch import Tensor

from curate import open_sets
from curate.fitting.curves.downstream import KINDS
from curate.fitting.curves.metric_curve import MetricCurve

NAME = "downstream"  # the name of such a curve in fit.json, as in ``downstream:kind=error``


def to_json(curve: MetricCurve) -> dict[str, object]:
    """Return the curve as an entry of ``laws`` in fit.json."""
    # For one loss, gamma is a number and `on` is a name, so that the file looks like older files.
    alone = len(curve.on) == 1
    return {
        "law": f"{NAME}:kind={curve.kind}",
        "eval": curve.name,
        "on": (curve.on[0] if alone else list(curve.on)) if curve.on else None,
        "theta": {name: _plain(values) for name, values in curve.theta.items()},
        "draws": [{name: _plain(values[i]) for name, values in curve.draws.items()} for i in range(curve.draw_count)],
        "rmse": curve.rmse,
        "noise": curve.noise,
        "rows": curve.rows,
        "explained": curve.explained,
        "ranges": {name: list(ends) for name, ends in curve.ranges.items()},
        "reach": None if curve.reach is None else list(curve.reach),
        "drift": curve.drift,
        "better": curve.better,
        "flat": curve.flat,
        "misaligned": curve.misaligned,
        "bounds": None if curve.bounds is None else list(curve.bounds),
        "weight": 1.0,
    }


def is_metric(law: Mapping[str, object]) -> bool:
    """Return whether an entry of ``laws`` in fit.json is the curve of a metric."""
    return open_sets.parse(str(law.get("law", "")))[0] == NAME


def from_json(law: Mapping[str, object]) -> MetricCurve:
    """Return the curve of an entry of ``laws`` in fit.json.

    Raises:
        KeyError, TypeError, ValueError: if a field is missing or wrong.
    """
    kind = str(open_sets.parse(str(law["law"]))[1]["kind"])
    on = law["on"]
    evals = () if on is None else (on,) if isinstance(on, str) else tuple(cast(Sequence[str], on))
    theta = cast(Mapping[str, object], law["theta"])
    draws = cast(list[Mapping[str, object]], law["draws"])
    names = KINDS[kind].params
    ranges = cast(Mapping[str, Sequence[float]], law.get("ranges", {}))
    bounds = cast("list[float] | None", law.get("bounds"))
    if bounds is not None and not bounds[0] < bounds[1]:
        raise ValueError(f"the bounds of a curve are {bounds}")
    return MetricCurve(
        name=str(law["eval"]),
        kind=kind,
        on=evals,
        theta={name: _tensor(name, theta[name], len(evals)) for name in names},
        draws={name: torch.stack([_tensor(name, draw[name], len(evals)) for draw in draws]) for name in names},
        rmse=float(cast(float, law["rmse"])),
        # Older files do not have the noise of a new run, so the error of the residuals takes its place.
        noise=float(cast(float, law.get("noise", law["rmse"]))),
        explained=float(cast(float, law["explained"])),
        rows=int(cast(int, law["rows"])),
        # JSON sorts the names of an object, so the order of `on` must be restored.
        ranges={name: (ranges[name][0], ranges[name][1]) for name in (evals or (KINDS[kind].x,)) if name in ranges},
        reach=None if law.get("reach") is None else cast(tuple[float, float], tuple(cast(list[float], law["reach"]))),
        drift=float(cast(float, law.get("drift", 0.0))),
        flat=cast("str | None", law.get("flat")),
        misaligned=cast("str | None", law.get("misaligned")),
        bounds=None if bounds is None else (float(bounds[0]), float(bounds[1])),
    )


def _plain(values: Tensor) -> float | list[float]:
    """Return a parameter as a number, or as a list if there are several evals."""
    return cast(list[float], values.tolist()) if values.numel() > 1 else float(values)


def _tensor(name: str, values: object, evals: int) -> Tensor:
    """Return a parameter of fit.json as a tensor: a scalar, or for gamma one number for each eval."""
    tensor = torch.tensor(values, dtype=torch.float64)
    if name == "gamma":
        tensor = tensor.reshape(-1)
    shape = (evals,) if name == "gamma" else ()
    if tensor.shape != shape or not bool(tensor.isfinite().all()):
        raise ValueError(f"parameter {name} of a curve is {np.asarray(tensor).tolist()}")
    return tensor
