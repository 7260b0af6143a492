"""A Gaussian process as an entry of ``laws`` in fit.json, and back."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from curate.fitting.fit_json import law_json
from curate.fitting.gaussian.gaussian import NAME, Gaussian
from curate.fitting.gaussian.kernel import Kernel
from curate.fitting.gaussian.process import Change
from curate.fitting.gaussian.sizes import Size
from curate.runs.recipes import Recipes

Record = Mapping[str, object]
MOST_DRAWS = 100_000  # each draw keeps some hundred numbers: more would fill the memory
LARGEST_SEED = 2**63 - 1


def to_json(gaussian: Gaussian) -> dict[str, object]:
    """Return the process as an entry of ``laws`` in fit.json.

    It holds the law's fit, the kernel, the changes between sizes and the fitted runs. Predictions and draws follow from
    these and the seed.
    """
    recipes, kernel = gaussian.recipes, gaussian.kernel
    # JSON has no infinity: unlimited tokens are null.
    unique = [[x if np.isfinite(x) else None for x in row] for row in recipes.unique.tolist()]
    return {
        "law": NAME,
        "eval": gaussian.eval,
        "pools": list(gaussian.pools),
        "theta": {
            "scales": kernel.scales.tolist(),
            "centre": kernel.centre.tolist(),
            "level": kernel.level,
            "amplitude": kernel.amplitude,
            "slope": kernel.slope,
        },
        "base": None if gaussian.base is None else law_json.to_json(gaussian.base),
        "anchor": asdict(gaussian.anchor),
        "changes": [asdict(change) for change in gaussian.changes],
        "run_noise": gaussian.run_noise,
        "noise": gaussian.noise,
        "count": gaussian.draws,
        "seed": gaussian.seed,
        "ranges": {name: list(ends) for name, ends in gaussian.ranges.items()},
        "heldout": dict(gaussian.heldout) if gaussian.heldout else None,
        "discrepancy": gaussian.discrepancy.to_json() if gaussian.discrepancy else None,
        "runs": {
            "weights": recipes.weights.tolist(),
            "tokens": recipes.tokens.tolist(),
            "params": recipes.params.tolist(),
            "unique": unique,
            **{name: None if x is None else x.tolist() for name, x in _optional(recipes).items()},
            "loss": gaussian.losses.tolist(),
        },
    }


def from_json(record: Record) -> Gaussian:
    """Return what ``to_json`` wrote; the same runs, kernel and seed give the same predictions and draws.

    Raises:
        KeyError, TypeError, ValueError: if a field is missing or wrong.
    """
    pools = tuple(cast(list[str], record["pools"]))
    runs = cast(Mapping[str, list[float]], record["runs"])
    _check_lengths(runs, len(pools))
    limits = cast(list[list[float | None]], runs["unique"])
    unlimited = [[np.inf if x is None else x for x in row] for row in limits]
    weights, tokens, params, unique = (
        torch.tensor(x, dtype=torch.float64) for x in (runs["weights"], runs["tokens"], runs["params"], unlimited)
    )
    base = record["base"]
    changes = cast(Sequence[Mapping[str, float]], record["changes"])
    return Gaussian(
        pools=pools,
        eval=str(record["eval"]),
        base=None if base is None else law_json.from_json(cast(Record, base)),
        recipes=replace(Recipes(weights, tokens, params, unique), **_measured(runs)),
        losses=np.array(runs["loss"]),
        kernel=_kernel(cast(Mapping[str, object], record["theta"]), len(pools)),
        anchor=Size(**cast(Mapping[str, float], record["anchor"])),
        changes=tuple(_change(change) for change in changes),
        run_noise=float(cast(float, record["run_noise"])),
        noise=float(cast(float, record["noise"])),
        ranges=law_json.ranges_of(record),
        draws=_whole(record, "count", 1, MOST_DRAWS),
        seed=_whole(record, "seed", 0, LARGEST_SEED),
        heldout=cast("dict[str, float | int | None] | None", record.get("heldout")),
        discrepancy=law_json.discrepancy_of(record),
    )


def _change(fields: Mapping[str, float]) -> Change:
    """Return a change between sizes; two sizes of one compute are an error."""
    change = Change(**fields)
    if change.compute == change.parent or not change.noise > 0:
        raise ValueError("a change between sizes has no distance, or no noise")
    return change


def _whole(record: Record, name: str, low: int, high: int) -> int:
    """Return a whole number of the record; one outside its bounds is an error."""
    number = int(cast(int, record[name]))
    if not low <= number <= high:
        raise ValueError(f"{name} {number} is not between {low} and {high}")
    return number


def _optional(recipes: Recipes) -> dict[str, Tensor | None]:
    """Return the fields of recipes that need not be known."""
    return {"distance": recipes.distance, "progress": recipes.progress, "areas": recipes.areas}


def _measured(runs: Mapping[str, list[float]]) -> dict[str, Any]:
    """Return those of the optional fields of recipes that are known."""
    names = [name for name in ("distance", "progress", "areas") if runs.get(name) is not None]
    return {name: torch.tensor(runs[name], dtype=torch.float64) for name in names}


def _kernel(theta: Mapping[str, object], pools: int) -> Kernel:
    """Return the kernel; a number that is missing, of another length or not positive is an error."""
    scales, centre = (torch.tensor(theta[name], dtype=torch.float64) for name in ("scales", "centre"))
    # Vectors of a wrong length would broadcast without an error.
    for name, values in (("scales", scales), ("centre", centre)):
        if values.shape != (pools,):
            raise ValueError(f"{name} has not one number for each of the {pools} pools")
    level, amplitude, slope = (float(cast(float, theta[name])) for name in ("level", "amplitude", "slope"))
    if not (bool((scales > 0).all()) and min(level, amplitude, slope) > 0):
        raise ValueError("a length scale or variance is not positive")
    return Kernel(level, scales, amplitude, slope, centre)


def _check_lengths(runs: Mapping[str, Sequence[object]], pools: int) -> None:
    """Check that all columns have as many rows, and that each run has a share and unique tokens of every pool."""
    # Columns of unequal lengths would pair the loss of one run with the mixture of another.
    lengths = {len(column) for column in runs.values() if column is not None}
    if len(lengths) > 1 or 0 in lengths:
        raise ValueError(f"the columns of runs have {min(lengths)} to {max(lengths)} rows")
    for name in ("weights", "unique"):
        if wrong := [i for i, row in enumerate(cast(Sequence[Sequence[float]], runs[name])) if len(row) != pools]:
            raise ValueError(f"runs.{name}[{wrong[0]}] has not one number for each of the {pools} pools")
