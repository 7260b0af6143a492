"""Choose the law for runs that continue one model, by its error on shares and lengths that it did not see."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import polars as pl

from curate import open_sets
from curate.continual import one_budget
from curate.errors import FitError
from curate.fitting.fit import FitOptions
from curate.fitting.fitted_laws import SingleFit, fit_named
from curate.progress import counted
from curate.runs.continued_runs import Continued
from curate.runs.recipes import Recipes

ERRORS = ("heldout", "bias", "rms", "shares", "longest")  # columns of the comparison, in nats per nat
SCHEMA = {"law": pl.String} | dict.fromkeys(ERRORS, pl.Float64) | {"why": pl.String}
DEFAULTS = FitOptions()


@dataclass(frozen=True)
class ChosenLaw:
    """The law with the smallest error on held-out runs, and how it compares with the others.

    ``fit``: the law fitted to all runs; its ``noise`` is at least its root mean squared error on held-out runs.
    ``rivals``: other laws that the runs cannot rule out, fitted to all runs; see ``choose``.
    ``rows``: one row for each law, the best first. All errors are predicted minus measured log loss:

    - ``heldout``: mean absolute error over all held-out rows;
    - ``bias``, ``rms``: mean and root mean squared error over the same rows;
    - ``shares``: mean absolute error when each share is held out in turn (see ``splits``);
    - ``longest``: mean absolute error when the longest runs are held out;
    - ``why``: the reason if the law could not be fitted.
    """

    fit: SingleFit
    rows: pl.DataFrame
    rivals: tuple[SingleFit, ...] = ()

    def table(self) -> pl.DataFrame:
        """Return the comparison, one row a law."""
        return self.rows


def complete_specs(specs: Sequence[str], continued: Continued, *, rest: bool) -> list[str]:
    """Fill in the options of laws that follow from the runs, unless the user has set them.

    ``pool``: the number of the domain's pool. ``rest``: set if the law is of the general loss. ``length``: tokens of
    the longest run. ``sizes``: set if the runs differ in size. ``start``: the loss of the start model, if all runs have
    one budget. A law gets only the options that it has.
    """
    recipes = continued.runs.recipes()
    budget = one_budget.budget_of(continued)
    options = {"pool": str(continued.index), "length": f"{float(recipes.tokens.max()):g}"}
    if rest:
        options["rest"] = "true"
    if float(recipes.params.std(correction=0)) > 0:
        options["sizes"] = "true"
    if budget is not None:
        general, domain = continued.start(budget.params)
        options["start"] = f"{general if rest else domain:.6g}"
    completed = []
    for spec in specs:
        name, chosen = open_sets.parse(spec)
        missing = [f"{key}={value}" for key, value in options.items() if key in _options(name) and key not in chosen]
        # The first option follows a colon, all others a comma.
        separator = "," if chosen else ":"
        completed.append(f"{spec}{separator}{','.join(missing)}" if missing else spec)
    return completed


def splits(continued: Continued) -> dict[str, list[np.ndarray]]:
    """Return which runs to hold out, as (n,) boolean masks.

    ``shares``: one mask for each share of the domain. If all runs have one budget, the largest share has no mask,
    because no answer then goes beyond the largest share. ``longest``: one mask, of the runs with the most tokens. It
    has no mask if all runs are equally long.
    """
    recipes = continued.runs.recipes()
    share_of_run = np.round(recipes.weights.numpy()[:, continued.index], 6)
    tokens = recipes.tokens.numpy()
    longest = tokens >= tokens.max() * (1 - 1e-6)
    masks = [share_of_run == share for share in continued.shares]
    # Runs of one budget may differ a little in tokens.
    if one_budget.budget_of(continued) is not None:
        return {"shares": masks[:-1], "longest": []}
    return {"shares": masks, "longest": [] if longest.all() else [longest]}


def choose(
    specs: Sequence[str],
    continued: Continued,
    evaluation: str,
    *,
    options: FitOptions = DEFAULTS,
    rival: float = 0.0,
) -> ChosenLaw:
    """Return the law with the smallest error on held-out runs, fitted to all runs.

    For each mask of ``splits``, every law is fitted without the masked runs and predicts them. Rivals are the laws
    whose root mean squared error is at most ``rival`` times that of the best law.

    Raises:
        FitError: if no law can be fitted. The message gives the reason for the first law.
    """
    compared = counted(specs, "laws compared", len(specs))
    rows = [_compared(spec, continued, evaluation, options) for spec in compared]
    table = pl.DataFrame(rows, schema=SCHEMA).sort("heldout", "law", nulls_last=True)
    best = table.row(0, named=True)
    if best["heldout"] is None:
        raise FitError(f"no law can be fitted to loss.{evaluation}: {best['why']}")
    every_run = np.ones(len(continued.runs), dtype=bool)
    fit = _fit(best["law"], continued, evaluation, every_run, options)
    # A law that fits its own runs closely may still predict others badly; the interval must show that.
    rivals = table[1:].filter(pl.col("rms") <= rival * best["rms"])["law"]
    return ChosenLaw(
        replace(fit, noise=max(fit.noise, float(best["rms"]))),
        table,
        # Only the best-fit parameters of a rival are used, so one bootstrap draw is enough.
        tuple(_fit(spec, continued, evaluation, every_run, replace(options, draws=1)) for spec in rivals),
    )


def _options(name: str) -> set[str]:
    """Return the options of a law; none for a name that is not a law, such as ``boosted``."""
    if name not in open_sets.names("laws"):
        return set()
    return {field.name for field in fields(open_sets.implementation("laws", name))}


def _compared(spec: str, continued: Continued, evaluation: str, options: FitOptions) -> dict[str, object]:
    """Return one row of the comparison: errors of a law on the runs that were left out."""
    errors: dict[str, list[np.ndarray]] = {"shares": [], "longest": []}
    recipes, loss = continued.runs.recipes(), continued.runs.loss(evaluation)
    try:
        for kind, masks in splits(continued).items():
            for left_out in masks:
                # Only the point is compared, so that one bootstrap draw is enough.
                fit = _fit(spec, continued, evaluation, ~left_out, replace(options, draws=1))
                errors[kind].append(_log_error(fit, recipes.take(left_out), loss[left_out]))
    except FitError as error:
        return {"law": spec, "why": str(error)}
    every = np.concatenate([*errors["shares"], *errors["longest"]])
    row: dict[str, object] = {
        "law": spec,
        "heldout": float(np.abs(every).mean()),
        "bias": float(every.mean()),
        "rms": float(np.sqrt((every**2).mean())),
        "why": "",
    }
    return row | {kind: float(np.abs(np.concatenate(parts)).mean()) for kind, parts in errors.items() if parts}


def _fit(spec: str, continued: Continued, evaluation: str, rows: np.ndarray, options: FitOptions) -> SingleFit:
    """Fit a law to the runs that the mask ``rows`` selects."""
    runs = continued.runs
    losses = {evaluation: runs.loss(evaluation)[rows]}
    recipes, clusters = runs.recipes().take(rows), runs.clusters[rows]
    return fit_named(spec, recipes, losses, pools=runs.pools, clusters=clusters, options=options)[evaluation]


def _log_error(fit: SingleFit, recipes: Recipes, loss: np.ndarray) -> np.ndarray:
    """Return the predicted minus the measured log loss, (n,)."""
    return np.asarray(np.log(fit.loss(recipes).detach().numpy()) - np.log(loss))
