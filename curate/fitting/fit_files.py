"""Whatever predicts losses, by name and from a file: a law's fit, a blend of fits, or boosted trees."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np

from curate import open_sets
from curate.errors import SchemaError
from curate.fitting import boosted
from curate.fitting import fit as fits
from curate.fitting.boosted import Boosted
from curate.fitting.fit import Fit, Options
from curate.runs.predictor import Blend
from curate.runs.recipes import Recipes
from curate.storage import artifacts

BOOSTED = "boosted"  # the name that is not a law; ``boosted:base=LAW`` or ``boosted:base=none``


def fit_named(
    spec: str,
    recipes: Recipes,
    losses: Mapping[str, np.ndarray],
    *,
    pools: Sequence[str],
    clusters: np.ndarray | None,
    options: Options,
) -> dict[str, Fit | Boosted]:
    """Fit a law, or ``boosted``, to several evals of the same runs; see ``fit_evals`` and ``fit_boosted``."""
    name, given = open_sets.parse(spec)
    if name != BOOSTED:
        laws = fits.fit_evals(spec, recipes, losses, pools=pools, clusters=clusters, options=options)
        return dict(laws)
    base = str(given.pop("base", boosted.BASE))
    if unknown := sorted(set(given) - set(boosted.Options.__dataclass_fields__)):
        known = ", ".join(["base", *boosted.Options.__dataclass_fields__])
        raise SchemaError(f"boosted has no option {unknown[0]!r}: it takes {known}")
    trees = replace(boosted.Options(seed=options.seed), **cast(dict[str, int], given))
    found = boosted.fit_boosted(
        recipes,
        losses,
        pools=pools,
        base=None if base == "none" else base,
        clusters=clusters,
        options=trees,
        law=options,
    )
    return dict(found)


def to_json(predictor: Fit | Blend | Boosted) -> dict[str, object]:
    """Return a predictor as the body of fit.json; a blend holds its members' bodies under ``fits``."""
    if isinstance(predictor, Boosted):
        return boosted.to_json(predictor)
    if isinstance(predictor, Fit):
        return fits.to_json(predictor)
    return {
        "law": "blend",
        "eval": predictor.eval,
        "pools": list(predictor.pools),
        "theta": {},
        "fits": [to_json(cast(Fit | Boosted, member)) for member in predictor.fits],
        "weights": list(predictor.weights),
    }


def from_json(record: Mapping[str, object]) -> Fit | Blend | Boosted:
    """Return what ``to_json`` wrote."""
    if record["law"] == BOOSTED:
        return boosted.from_json(record)
    if record["law"] != "blend":
        return fits.from_json(record)
    members = [from_json(member) for member in cast(list[dict[str, object]], record["fits"])]
    return Blend(tuple(cast(list[Fit], members)), tuple(cast(list[float], record["weights"])), str(record["eval"]))


def load(path: Path) -> Fit | Blend | Boosted:
    """Read fit.json."""
    record = artifacts.load(path, "fit")
    try:
        return from_json(record)
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise SchemaError(
            f"{path} is not a fit.json ({type(error).__name__}: {error}): run `curate fit` again"
        ) from None
