"""Show a curve that is no law of mixtures: the fit.json of any curve in ``CURVES``."""

from collections.abc import Callable, Mapping
from typing import cast

import altair as alt
import polars as pl

from curate.charts.chart import HEIGHT, WIDTH, Chart
from curate.fitting import fit_files
from curate.fitting.curves import fit_pruning
from curate.fitting.curves.schedules import schedule_fit, schedule_laws
from curate.fitting.fit_report import parameter_table
from curate.reporting.html_page import Section
from curate.reporting.records import Values

# The order of the columns: fit.json has the fields of a row in alphabetical order.
BEST_SHARES = ("size", "keep", "low", "high", "kept", "error", "error_all", "extrapolated")
TEXTS: Mapping[str, str] = {
    "downstream": "Downstream metrics as functions of losses. low and high: 5 % and 95 % of the bootstrap draws.",
    **dict.fromkeys(
        schedule_laws.LAWS,
        "Loss over the learning rates of a training. All trainings share the parameters. r2: share of the variance "
        "explained. low and high: 5 % and 95 % of the bootstrap draws.",
    ),
    "relearn": "Loss over continued training. B: how far the loss shifts on the new data. "
    "The runs share all other parameters.",
    "pruning_curves": "Best share to keep at each size before pruning, with the 90 % interval over bootstrap draws. "
    "Second table: the power law of error over kept size, for each share kept.",
}


def curve_section(name: str, record: Values) -> Section:
    """Show the parameters of the curve ``name``, and how well it fits or what it recommends.

    ``record`` is the content of fit.json.

    Raises:
        KeyError, TypeError, ValueError: if a field is missing or wrong.
    """
    drawn, tables = SHOWN[name](record)
    title = ", ".join(fit_files.metrics_of(record)) or record["eval"]
    return Section(f"Fit: the curve {name} of {title}", TEXTS[name], drawn, tables)


def _metric(record: Values) -> tuple[list[Chart], list[pl.DataFrame]]:
    """Return how well the curve of each metric fits, and its parameters with intervals over the draws."""
    tables = []
    for curve in fit_files.metrics_of(record).values():
        doubts = {"flat": curve.flat, "misaligned": curve.misaligned}
        tables += [pl.DataFrame([curve.summary() | {"rmse": curve.rmse} | doubts]), curve.parameter_rows()]
    return [], tables


def _of_each_run(record: Values) -> tuple[list[Chart], list[pl.DataFrame]]:
    """Return one row a run: how well its curve fits, and the parameters."""
    laws = cast(list[Values], record["laws"])
    rows = [
        {name: law.get(name) for name in ("run", "r2", "rows")} | cast(dict[str, object], law["theta"]) for law in laws
    ]
    return [], [pl.DataFrame(rows, infer_schema_length=None)]


def _of_schedules(record: Values) -> tuple[list[Chart], list[pl.DataFrame]]:
    """Return how well the law fits each training, and its parameters with intervals over the draws."""
    law = cast(list[Values], record["laws"])[0]
    if "run" in law:  # an earlier version fitted each run by itself
        return _of_each_run(record)
    rows = pl.DataFrame(cast(list[Values], law["schedules"])).select("run", "r2", "rows", "steps")
    return [], [rows, schedule_fit.from_json(law).parameter_rows()]


def _pruning_curves(record: Values) -> tuple[list[Chart], list[pl.DataFrame]]:
    """Return a chart and a table of the best share to keep, and the parameters for each share kept."""
    fitted = fit_pruning.from_json(record)
    named = {f"{share:g}": curve for share, curve in zip(fitted.keep, fitted.fits, strict=True)}
    best = pl.DataFrame(cast(list[Values], record["best_shares"])).select(BEST_SHARES)
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


# What shows each curve; the same names as ``curate.fitting.curves.kinds.CURVES``.
SHOWN: Mapping[str, Callable[[Values], tuple[list[Chart], list[pl.DataFrame]]]] = {
    **dict.fromkeys(schedule_laws.LAWS, _of_schedules),
    "downstream": _metric,
    "pruning_curves": _pruning_curves,
    "relearn": _of_each_run,
}
