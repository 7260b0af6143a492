"""Charts of training runs: measured losses beside fitted and predicted ones."""

import altair as alt
import polars as pl

from curate.charts.chart import ACCENT, HEIGHT, MUTED, WIDTH, Chart


def runs(losses: pl.DataFrame) -> Chart:
    """Show the losses of runs (``run, params, tokens, eval, loss``) over the training tokens, a panel an eval."""
    chart: Chart = (
        alt.Chart(losses, width=WIDTH, height=HEIGHT)
        .mark_circle(size=55)
        .encode(
            x=alt.X("tokens:Q", scale=alt.Scale(type="log"), title="training tokens", axis=alt.Axis(format="~e")),
            y=alt.Y("loss:Q", scale=alt.Scale(zero=False), title="loss, nats per token"),
            color=alt.Color("params:N", title="parameters"),
            tooltip=["run", "params", "tokens", "eval", "loss"],
        )
        .facet(row=alt.Row("eval:N"))
        .resolve_scale(y="independent")
    )
    return chart


def pilots(points: pl.DataFrame, curves: pl.DataFrame) -> Chart:
    """Show losses over training tokens: pilots as dots, a law for some mixtures as lines.

    ``points``: run, tokens, loss (nats per token), share (of one pool, which gives the colour). ``curves``: tokens,
    loss, mixture (its name).
    """
    x = alt.X("tokens:Q", scale=alt.Scale(type="log"), title="training tokens", axis=alt.Axis(format="~e", tickCount=6))
    y = alt.Y("loss:Q", scale=alt.Scale(zero=False), title="loss, nats per token")
    colour = alt.Color("share:Q", title="share", scale=alt.Scale(scheme="viridis"))
    dots = (
        alt.Chart(points)
        .mark_circle(size=55)
        .encode(x=x, y=y, color=colour, tooltip=["run", "tokens", "loss", "share"])
    )
    lines = (
        alt.Chart(curves)
        .mark_line()
        .encode(x=x, y=y, strokeDash=alt.StrokeDash("mixture:N"), tooltip=["mixture", "tokens", "loss"])
    )
    return alt.layer(lines, dots).properties(width=WIDTH, height=HEIGHT)


def fitted(points: pl.DataFrame) -> Chart:
    """Show fitted against measured loss of the pilots, with the diagonal.

    ``points``: run, tokens, measured and predicted loss in nats per token.
    """
    losses = points.select("measured", "predicted").to_numpy()
    ends = [float(losses.min()), float(losses.max())]
    scale = alt.Scale(zero=False, domain=ends)
    diagonal = alt.Chart(pl.DataFrame({"x": ends})).mark_line(color=MUTED).encode(x="x:Q", y="x:Q")
    dots = alt.Chart(points).mark_circle(size=55)
    dots = dots.encode(
        x=alt.X("measured:Q", scale=scale, title="measured loss"),
        y=alt.Y("predicted:Q", scale=scale, title="fitted loss"),
        color=alt.Color("tokens:N", title="tokens"),
        tooltip=["run", "measured", "predicted"],
    )
    return alt.layer(diagonal, dots).properties(width=HEIGHT + 60, height=HEIGHT + 60)


def predicted(points: pl.DataFrame) -> Chart:
    """Show predicted against measured values (``run, group, measured, predicted``) and the diagonal."""
    lowest = points.select(pl.min_horizontal("measured", "predicted").min()).item()
    highest = points.select(pl.max_horizontal("measured", "predicted").max()).item()
    ends = [float(lowest), float(highest)]
    scale = alt.Scale(zero=False, domain=ends)
    diagonal = alt.Chart(pl.DataFrame({"x": ends})).mark_line(color=MUTED).encode(x="x:Q", y="x:Q")
    dots = (
        alt.Chart(points)
        .mark_circle(size=55)
        .encode(
            x=alt.X("measured:Q", scale=scale, title="measured"),
            y=alt.Y("predicted:Q", scale=scale, title="predicted"),
            color=alt.Color("group:N", title=None),
            tooltip=["run", "group", "measured", "predicted"],
        )
    )
    return alt.layer(diagonal, dots).properties(width=HEIGHT + 60, height=HEIGHT + 60)


def intervals(predictions: pl.DataFrame) -> Chart:
    """Show a predicted value with its interval (``run, predicted, low, high``), one line a run."""
    base = alt.Chart(predictions, width=WIDTH).encode(y=alt.Y("run:N", sort=None, title=None))
    x = alt.X("predicted:Q", scale=alt.Scale(zero=False), title="predicted")
    lines = base.mark_rule().encode(x=alt.X("low:Q", scale=alt.Scale(zero=False)), x2="high:Q")
    return alt.layer(lines, base.mark_circle(size=55).encode(x=x, tooltip=["run", "predicted", "low", "high"]))


def checked(rows: pl.DataFrame) -> Chart:
    """Show for each mixture the predicted loss with its interval (blue) and the measured loss (orange).

    ``rows``: mixture (its name), predicted, low, high, measured, in nats per token.
    """
    y = alt.Y("mixture:N", sort=None, title=None)
    scale = alt.Scale(zero=False)
    bar = (
        alt.Chart(rows)
        .mark_rule(strokeWidth=3, color="#9ecae1")
        .encode(y=y, x=alt.X("low:Q", scale=scale, title="loss, nats per token"), x2="high:Q")
    )
    guess = alt.Chart(rows).mark_tick(thickness=3, color="#2171b5").encode(y=y, x=alt.X("predicted:Q", scale=scale))
    truth = alt.Chart(rows).mark_point(filled=True, size=110, color=ACCENT)
    truth = truth.encode(
        y=y, x=alt.X("measured:Q", scale=scale), tooltip=["mixture", "predicted", "low", "high", "measured"]
    )
    return alt.layer(bar, guess, truth).properties(width=WIDTH, height=40 * max(3, rows.height))
