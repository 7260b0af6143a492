"""Charts of the grid of a plan: how the best mixture and its loss change with the training tokens."""

import altair as alt
import polars as pl

from curate.charts.chart import HEIGHT, MUTED, WIDTH, Chart


def shares_over_tokens(shares: pl.DataFrame, planned: pl.DataFrame, outside: pl.DataFrame) -> Chart:
    """Show the best mixture over the training tokens as stacked areas, one panel a model size.

    ``shares``: tokens, size (in words), pool, place (the order of the areas), others (whether it stands for several
    pools), weight, epochs. ``planned``: tokens and size of the planned budgets, drawn as dashed lines. ``outside``:
    start and end of the token counts without fitted runs, whose areas are pale.
    """
    x = _log_tokens(shares)
    # By name, so that pools have the colours of the other charts of a plan; other pools added up come last.
    names = shares.select("pool", "others").unique().sort("others", "pool")["pool"].to_list()
    # The usual scheme has ten colours.
    scale = alt.Scale(domain=names, scheme="tableau10" if len(names) <= 10 else "tableau20")
    panels = []
    for size in shares["size"].unique(maintain_order=True):
        areas = (
            alt.Chart(shares.filter(pl.col("size") == size))
            .mark_area()
            .encode(
                x=x,
                y=alt.Y("weight:Q", stack="zero", title="share of training tokens", scale=alt.Scale(domain=[0, 1])),
                color=alt.Color("pool:N", scale=scale),
                order=alt.Order("place:Q"),
                tooltip=["tokens", "pool", "weight", "epochs"],
            )
        )
        pale = _outside(outside, x, color="white", opacity=0.6)
        panel = alt.layer(areas, *pale, *_planned_lines(planned.filter(pl.col("size") == size), x))
        panels.append(panel.properties(width=WIDTH, height=HEIGHT, title=size))
    return alt.vconcat(*panels)


def losses_over_tokens(losses: pl.DataFrame, planned: pl.DataFrame, outside: pl.DataFrame) -> Chart:
    """Show the predicted loss of the best mixture over the training tokens, with its band, one colour a model size.

    ``losses`` and ``planned`` (the planned budgets, drawn as dots): tokens, size (in words), and loss, low and high in
    nats per token. ``outside``: start and end of the token counts without fitted runs, which are grey.
    """
    x, y = _log_tokens(losses), alt.Y("loss:Q", scale=alt.Scale(zero=False), title="predicted loss, nats per token")
    colour = alt.Color("size:N", title="model", sort=None)
    band = alt.Chart(losses).mark_area(opacity=0.25).encode(x=x, y=alt.Y("low:Q", title=""), y2="high:Q", color=colour)
    line = alt.Chart(losses).mark_line().encode(x=x, y=y, color=colour, tooltip=list(losses.columns))
    dots = alt.Chart(planned).mark_circle(size=70, opacity=1)
    dots = dots.encode(x=x, y=y, color=colour, tooltip=list(planned.columns))
    grey = _outside(outside, x, color=MUTED, opacity=0.18)
    return alt.layer(*grey, band, line, dots).properties(width=WIDTH, height=HEIGHT)


def _log_tokens(points: pl.DataFrame) -> alt.X:
    """Return a logarithmic axis of training tokens that ends where the points end."""
    tokens = points["tokens"].to_list()
    scale = alt.Scale(type="log", nice=False, domain=[min(tokens), max(tokens)])
    return alt.X("tokens:Q", scale=scale, title="training tokens", axis=alt.Axis(format="~e", tickCount=6))


def _outside(outside: pl.DataFrame, x: alt.X, *, color: str, opacity: float) -> list[alt.Chart]:
    """Return rectangles over the whole height from each ``start`` to its ``end``, with their meaning in words."""
    if outside.is_empty():
        return []
    base = alt.Chart(outside.rename({"start": "tokens"})).encode(x=x, x2="end:Q")
    words = base.mark_text(align="left", baseline="top", dx=4, dy=4, fontStyle="italic", color="#444")
    return [
        base.mark_rect(color=color, opacity=opacity).encode(y=alt.value(0), y2=alt.value(HEIGHT)),
        words.encode(y=alt.value(0), text=alt.value("extrapolated")),
    ]


def _planned_lines(planned: pl.DataFrame, x: alt.X) -> list[alt.Chart]:
    """Return a dashed line at the tokens of each planned budget, with a label."""
    base = alt.Chart(planned).encode(x=x, tooltip=["tokens"])
    label = base.mark_text(align="left", baseline="bottom", dx=4, dy=-4, color="black")
    return [
        base.mark_rule(strokeDash=[5, 4], color="black"),
        label.encode(y=alt.value(HEIGHT), text=alt.value("planned")),
    ]
