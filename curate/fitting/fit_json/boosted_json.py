"""Boosted trees as an entry of ``laws`` in fit.json, and back."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import cast

import numpy as np
import torch

from curate.errors import SchemaError
from curate.fitting.boosted import Boosted, TreeOptions
from curate.fitting.fit_json import law_json
from curate.runs.recipes import Recipes

LARGEST_LOG_LOSS = 50.0  # no loss is e^50 or e^-50 nats per token


def to_json(boosted: Boosted) -> dict[str, object]:
    """Return the trees as an entry of ``laws`` in fit.json.

    It holds the law's fit, the options and the fitted rows. The trees are grown again from these and are not stored.
    """
    recipes = boosted.recipes
    # JSON has no infinity: unlimited tokens are null.
    unique = [[x if np.isfinite(x) else None for x in row] for row in recipes.unique.tolist()]
    return {
        "law": "boosted",
        "eval": boosted.eval,
        "pools": list(boosted.pools),
        "theta": {},
        "base": None if boosted.base is None else law_json.to_json(boosted.base),
        "options": asdict(boosted.options),
        "noise": boosted.noise,
        "ranges": {name: list(ends) for name, ends in boosted.ranges.items()},
        "discrepancy": boosted.discrepancy.to_json() if boosted.discrepancy else None,
        "runs": {
            "weights": recipes.weights.tolist(),
            "tokens": recipes.tokens.tolist(),
            "params": recipes.params.tolist(),
            "unique": unique,
            "distance": None if recipes.distance is None else recipes.distance.tolist(),
            "loss": boosted.losses.tolist(),
            "outside": boosted.law_outside.tolist(),
            "clusters": boosted.clusters.tolist(),
        },
    }


def from_json(record: Mapping[str, object]) -> Boosted:
    """Return what ``to_json`` wrote; the same rows and options grow the same trees.

    Raises:
        KeyError, TypeError, ValueError: if a field is missing or wrong.
    """
    runs = cast(Mapping[str, list[float]], record["runs"])
    unique = cast(list[list[float | None]], runs["unique"])
    unlimited = [[np.inf if x is None else x for x in row] for row in unique]
    _check_lengths(runs, len(cast(list[str], record["pools"])))
    _check_log_losses(runs["outside"])
    columns = [runs["weights"], runs["tokens"], runs["params"], unlimited]
    columns += [] if runs["distance"] is None else [runs["distance"]]
    base = record["base"]
    return Boosted(
        pools=tuple(cast(list[str], record["pools"])),
        eval=str(record["eval"]),
        base=None if base is None else law_json.from_json(cast(Mapping[str, object], base)),
        recipes=Recipes(*(torch.tensor(x, dtype=torch.float64) for x in columns)),
        losses=np.array(runs["loss"]),
        law_outside=np.array(runs["outside"]),
        clusters=np.array(runs["clusters"]),
        options=_options(cast(dict[str, int], record["options"])),
        noise=float(cast(float, record["noise"])),
        ranges=law_json.ranges_of(record),
        discrepancy=law_json.discrepancy_of(record),
    )


def _options(values: Mapping[str, int]) -> TreeOptions:
    try:
        return TreeOptions(**values)
    except SchemaError as error:
        raise ValueError(str(error)) from None


def _check_log_losses(values: Sequence[float]) -> None:
    """Check that logarithms of losses are possible; trees of others would predict infinite losses."""
    if wrong := [i for i, value in enumerate(values) if not abs(value) < LARGEST_LOG_LOSS]:
        raise ValueError(f"runs.outside[{wrong[0]}] is {values[wrong[0]]:g}, which is no logarithm of a loss")


def _check_lengths(runs: Mapping[str, Sequence[object]], pools: int) -> None:
    """Check that all columns have as many rows, and that each run has a share and unique tokens of every pool."""
    # Columns of unequal lengths would pair the loss of one run with the mixture of another.
    if len(lengths := {len(column) for column in runs.values() if column is not None}) > 1:
        raise ValueError(f"the columns of runs have {min(lengths)} to {max(lengths)} rows")
    for name in ("weights", "unique"):
        if wrong := [i for i, row in enumerate(cast(Sequence[Sequence[float]], runs[name])) if len(row) != pools]:
            raise ValueError(f"runs.{name}[{wrong[0]}] has not one number for each of the {pools} pools")
