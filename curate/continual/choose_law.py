"""Choose the law of a continued run table by what it predicts of shares, and of lengths, that it did not see."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import polars as pl

from curate import open_sets
from curate.errors import FitError
from curate.fitting.boosted import Boosted
from curate.fitting.fit import Fit, FitOptions
from curate.fitting.fit_files import fit_named
from curate.runs.continued_runs import Continued


@dataclass(frozen=True)
class Chosen:
    """``fit`` of the best law on all runs, ``noise`` at least its held-out rms; ``rows``: one row a law, best first.

    Columns: law, heldout (mean absolute error of log loss over all held-out rows), bias (mean), rms, shares and longest
    (mean absolute error where each share in turn, and the longest runs, were left out; nats per nat), why (not fitted).
    """

    fit: Fit | Boosted
    rows: pl.DataFrame

    def table(self) -> pl.DataFrame:
        """Return the comparison."""
        return self.rows


def placed(specs: Sequence[str], found: Continued, *, rest: bool) -> list[str]:
    """Return law specs with the options that these runs give, where a law has them and the spec does not say.

    ``pool``: the domain's number; ``rest``: the general loss; ``length``: tokens of the longest run; ``sizes``:
    the runs differ in size.
    """
    longest = float(found.runs.recipes().tokens.max())
    known = {"pool": str(found.index), "length": f"{longest:g}"}
    if rest:
        known["rest"] = "true"
    if float(found.runs.recipes().params.std(correction=0)) > 0:
        known["sizes"] = "true"
    made = []
    for spec in specs:
        name, given = open_sets.parse(spec)
        has = (
            {f.name for f in fields(open_sets.implementation("laws", name))}
            if name in open_sets.names("laws")
            else set()
        )
        more = [f"{key}={value}" for key, value in known.items() if key in has and key not in given]
        made.append(",".join([spec if given or not more else f"{spec}:{more.pop(0)}", *more]))
    return made


def splits(found: Continued) -> dict[str, list[np.ndarray]]:
    """Return (n,) masks of rows to leave out: ``shares``, each in turn; ``longest``, the runs of the most tokens."""
    given = found.runs.recipes()
    share = np.round(given.weights.numpy()[:, found.index], 6)
    tokens = given.tokens.numpy()
    longest = tokens >= tokens.max() * (1 - 1e-6)
    return {"shares": [share == one for one in found.shares], "longest": [] if longest.all() else [longest]}


def choose(specs: Sequence[str], found: Continued, evaluation: str, *, options: FitOptions = FitOptions()) -> Chosen:  # noqa: B008
    """Fit every law without each split and measure it there, refit the best on all rows.

    Errors: no law can be fitted, with the first reason.
    """
    given, loss, clusters = found.runs.recipes(), found.runs.loss(evaluation), found.runs.clusters
    rows: list[dict[str, object]] = []
    for spec in specs:
        errors: dict[str, list[np.ndarray]] = {"shares": [], "longest": []}
        try:
            for kind, masks in splits(found).items():
                for out in masks:
                    fit = fit_named(
                        spec, given.take(~out), {evaluation: loss[~out]}, pools=found.runs.pools,
                        clusters=clusters[~out], options=replace(options, draws=1),
                    )[evaluation]  # fmt: skip
                    errors[kind].append(np.log(fit.loss(given.take(out)).detach().numpy()) - np.log(loss[out]))
        except FitError as error:
            rows.append({"law": spec, "why": str(error)})
            continue
        every = np.concatenate([*errors["shares"], *errors["longest"]])
        rows.append(
            {"law": spec, "heldout": float(np.abs(every).mean()), "bias": float(every.mean()),
             "rms": float(np.sqrt((every**2).mean())), "why": ""}
            | {kind: float(np.abs(np.concatenate(parts)).mean()) for kind, parts in errors.items() if parts}
        )  # fmt: skip
    schema = {"law": pl.String} | dict.fromkeys(("heldout", "bias", "rms", "shares", "longest"), pl.Float64)
    table = pl.DataFrame(rows, schema=schema | {"why": pl.String}).sort("heldout", "law", nulls_last=True)
    best = table.row(0, named=True)
    if best["heldout"] is None:
        raise FitError(f"no law can be fitted to loss.{evaluation}: {best['why']}")
    fit = fit_named(best["law"], given, {evaluation: loss}, pools=found.runs.pools, clusters=clusters, options=options)[
        evaluation
    ]
    return Chosen(replace(fit, noise=max(fit.noise, float(best["rms"]))), table)
