"""Show which corpus to take at which compute: the fit.json of several corpora."""

from collections.abc import Mapping
from typing import cast

import altair as alt
import polars as pl

from curate.charts.chart import HEIGHT, WIDTH, Chart
from curate.fitting.corpora import CROSSING_SCHEMA
from curate.fitting.fit_json import law_json
from curate.fitting.fit_report import parameter_table
from curate.reporting.html_page import Section
from curate.reporting.records import Values

BAND = 0.18  # opacity of an interval, so that overlapping intervals show


def corpora_section(record: Values) -> Section:
    """Show the predicted losses of every corpus, where they cross, and the parameters of their laws.

    ``record`` is the content of fit.json.

    Raises:
        KeyError, TypeError, ValueError: if a field is missing or wrong.
    """
    laws = cast(list[Values], record["laws"])
    corpora = {str(law["corpus"]): law_json.from_json(law) for law in laws}
    crossings = pl.DataFrame(cast(list[Values], record.get("crossings", [])), schema=CROSSING_SCHEMA)
    rows = cast(list[Mapping[str, object]], record.get("curves", []))
    names = ("flops", "corpus", "loss", "low", "high")
    curves = pl.DataFrame([{name: row[name] for name in names} for row in rows], infer_schema_length=None)
    text = (
        f"The law {laws[0]['law']} was fitted to the runs of each {record['by']} alone. Lines: predicted "
        f"loss.{record['eval']}, nats per token, with the 90 % interval of a new run. "
    )
    text += _crossings_in_words(crossings, curves) if rows else ""
    tables = [*([crossings] if crossings.height else []), parameter_table(corpora, "corpus")]
    return Section("Corpora: which to take at which compute", text, [_chart(curves)] if rows else [], tables)


def _crossings_in_words(crossings: pl.DataFrame, curves: pl.DataFrame) -> str:
    """Say what the first table shows, or that no corpus overtakes another."""
    if crossings.height:
        return (
            "First table: the corpus better overtakes worse at so many FLOPs; low and high are the 90 % interval over "
            "the draws in which the two cross, and share is the share of such draws."
        )
    low, high = cast(float, curves["flops"].min()), cast(float, curves["flops"].max())
    return f"No corpus overtakes another between {low:.2g} and {high:.2g} FLOPs."


def _chart(curves: pl.DataFrame) -> Chart:
    """Show loss over compute, a colour for each corpus; a row has flops, corpus, loss, low and high."""
    scale = alt.Scale(type="log", nice=False)
    x = alt.X("flops:Q", scale=scale, title="training compute, FLOPs", axis=alt.Axis(format="~e", tickCount=6))
    # The legend would take the faint colours of the bands.
    colour = alt.Color("corpus:N", legend=alt.Legend(symbolOpacity=1))
    base = alt.Chart(curves, width=WIDTH, height=HEIGHT).encode(x=x, color=colour)
    y = alt.Y("loss:Q", scale=alt.Scale(zero=False), title="loss, nats per token")
    band = base.mark_area(opacity=BAND).encode(y=alt.Y("low:Q", scale=alt.Scale(zero=False)), y2="high:Q")
    return alt.layer(band, base.mark_line().encode(y=y, tooltip=["corpus", "flops", "loss", "low", "high"]))
