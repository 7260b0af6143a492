"""Show a curve that is no law of mixtures: the fit.json of downstream, annealing, relearn or pruning_curves."""

from collections.abc import Callable, Mapping, Sequence
from typing import cast

import altair as alt
import numpy as np
import polars as pl

from curate.charts import HEIGHT, WIDTH, Chart, Section
from curate.fitting.curves import fit_pruning
from curate.fitting.fit_report import parameter_table
from curate.reporting.records import Values

# How well an entry of ``laws`` fits; each curve has a few of these.
QUALITY = ("law", "run", "on", "rmse", "explained", "r2", "rows", "misaligned")
TAILS = (0.05, 0.95)  # quantiles of the draws at the ends of a 90 % interval
TEXTS: Mapping[str, str] = {
    "downstream": "A downstream metric as a function of a loss. low and high: 5 % and 95 % of the bootstrap draws.",
    "annealing": "Loss over the learning rates of a run, each run by itself. r2: share of the variance explained.",
    "relearn": "Loss over continued training. B: how far the loss shifts on the new data. All else is shared.",
    "pruning_curves": "Best share to keep at each size before pruning, with the 90 % interval over bootstrap draws. "
    "Second table: the power law of error over kept size, for each share kept.",
}


def curve_section(name: str, record: Values) -> Section:
    """Show the parameters of the curve ``name``, and how well it fits or what it recommends.

    ``record`` is the content of fit.json.

    Raises:
        KeyError, TypeError, ValueError: if a field is missing or wrong.
    """
    show: Callable[[Values], tuple[list[Chart], list[pl.DataFrame]]]
    show = _pruning_curves if name == "pruning_curves" else _parametric
    drawn, tables = show(record)
    return Section(f"Fit: the curve {name} of {record['eval']}", TEXTS[name], drawn, tables)


def _parametric(record: Values) -> tuple[list[Chart], list[pl.DataFrame]]:
    """Return two tables of a curve with plain numbers as parameters: how well it fits, and its parameters."""
    laws = cast(list[Values], record["laws"])
    shown = [name for name in QUALITY if any(law.get(name) is not None for law in laws)]
    quality = pl.DataFrame([{name: law.get(name) for name in shown} for law in laws], infer_schema_length=None)
    rows = [row for law in laws for row in _parameters(law)]
    return [], [quality, pl.DataFrame(rows, infer_schema_length=None)]


def _parameters(law: Values) -> list[dict[str, object]]:
    """Return one row a parameter: the run if the curve is of one, its value, and an interval if there are draws."""
    draws = cast(Sequence[Mapping[str, float]], law.get("draws", ()))
    rows: list[dict[str, object]] = []
    for name, value in cast(Mapping[str, float], law["theta"]).items():
        row: dict[str, object] = {"run": law["run"]} if "run" in law else {}
        row |= {"param": name, "value": value}
        if draws:
            low, high = np.quantile([draw[name] for draw in draws], TAILS).tolist()
            row |= {"low": low, "high": high}
        rows.append(row)
    return rows


def _pruning_curves(record: Values) -> tuple[list[Chart], list[pl.DataFrame]]:
    """Return a chart and a table of the best share to keep, and the parameters for each share kept."""
    fitted = fit_pruning.from_json(record)
    named = {f"{share:g}": curve for share, curve in zip(fitted.keep, fitted.fits, strict=True)}
    best = pl.DataFrame(cast(list[Values], record["best_shares"]))
    return [_best_shares(best)], [best, parameter_table(named, "keep")]


def _best_shares(best: pl.DataFrame) -> Chart:
    """Show the best share to keep over the size before pruning; a row has size, keep, low and high."""
    x = alt.X(
        "size:Q", scale=alt.Scale(type="log", nice=False), title="size before pruning", axis=alt.Axis(format="~e")
    )
    base = alt.Chart(best, width=WIDTH, height=HEIGHT).encode(x=x)
    title = "best share to keep"
    y = alt.Y("keep:Q", scale=alt.Scale(domain=[0, 1]), title=title)
    band = base.mark_area(opacity=0.18).encode(y=alt.Y("low:Q", title=title), y2="high:Q")
    return alt.layer(band, base.mark_line(point=True).encode(y=y, tooltip=["size", "keep", "low", "high", "error"]))
