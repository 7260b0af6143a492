"""Charts of plans and schedules: shares of pools, passes over them, and losses that are weighed up."""

import altair as alt
import polars as pl

from curate.charts.chart import ACCENT, HEIGHT, WIDTH, Chart


def shares(plans: pl.DataFrame) -> Chart:
    """Show the planned shares of all pools over training tokens, stacked.

    ``plans``: one row a budget and pool, with tokens, pool, weight, epochs, as ``curate.planning.plan.table`` returns.
    """
    chart: Chart = (
        alt.Chart(plans, width=WIDTH, height=HEIGHT)
        .mark_area()
        .encode(
            x=alt.X(
                "tokens:Q", scale=alt.Scale(type="log", nice=False), title="training tokens", axis=alt.Axis(format="~e")
            ),
            y=alt.Y("weight:Q", stack="zero", title="share of training tokens", scale=alt.Scale(domain=[0, 1])),
            color=_pools(plans),
            tooltip=["tokens", "pool", "weight", "epochs"],
        )
    )
    return chart


def freedom(plans: pl.DataFrame) -> Chart:
    """Show the planned share of each pool over training tokens, in its own panel with what is uncertain.

    ``plans``: one row a budget and pool, with tokens, pool, weight. Light bands are drawn between low and high (shares
    that bootstrap draws would plan), dark ones between near_low and near_high (shares of near-optimal mixtures), if
    these columns are there.
    """
    ticks = alt.Axis(format="~e", tickCount=3)
    x = alt.X("tokens:Q", scale=alt.Scale(type="log", nice=False), title="training tokens", axis=ticks)
    base = alt.Chart(plans, width=165, height=110)
    layers = []
    for low, high, opacity in (("low", "high", 0.18), ("near_low", "near_high", 0.45)):
        if low in plans.columns:
            layers.append(
                base.mark_area(opacity=opacity).encode(x=x, y=f"{low}:Q", y2=f"{high}:Q", color=_pools(plans))
            )
    line = base.mark_line(point=alt.OverlayMarkDef(size=18)).encode(
        x=x,
        y=alt.Y("weight:Q", title="share", scale=alt.Scale(domain=[0, 1])),
        color=_pools(plans).legend(None),
        tooltip=list(plans.columns),
    )
    return alt.layer(*layers, line).facet(alt.Facet("pool:N", title=None), columns=4)


def epochs(plans: pl.DataFrame) -> Chart:
    """Show the passes over each pool over training tokens.

    ``plans``: one row a budget and pool, with tokens, pool, weight, epochs. Pools that are hardly used are left out,
    because the axis is logarithmic.
    """
    used = plans.filter(pl.col("epochs") > 1e-3)
    chart: Chart = (
        alt.Chart(used, width=WIDTH, height=HEIGHT)
        .mark_line(point=True)
        .encode(
            x=alt.X(
                "tokens:Q", scale=alt.Scale(type="log", nice=False), title="training tokens", axis=alt.Axis(format="~e")
            ),
            y=alt.Y("epochs:Q", scale=alt.Scale(type="log"), title="passes over the pool", axis=alt.Axis(format="~g")),
            color=_pools(plans),
            tooltip=["tokens", "pool", "weight", "epochs"],
        )
    )
    return chart


def phases(shares: pl.DataFrame) -> Chart:
    """Show the shares of a schedule (``from, to, pool, share``) over the course of training."""
    chart: Chart = (
        alt.Chart(shares, width=WIDTH, height=HEIGHT)
        .mark_rect()
        .transform_stack(stack="share", groupby=["from"], sort=[alt.SortField("pool")], as_=["low", "high"])
        .encode(
            x=alt.X("from:Q", title="fraction of training", scale=alt.Scale(domain=[0, 1])),
            x2="to:Q",
            y=alt.Y("low:Q", title="share of training tokens", scale=alt.Scale(domain=[0, 1])),
            y2="high:Q",
            color=_pools(shares),
            tooltip=["pool", "share", "from", "to"],
        )
    )
    return chart


def tokens(parts: pl.DataFrame) -> Chart:
    """Show the training tokens of every pool of a mixture (``pool, tokens, share, passes``)."""
    chart: Chart = (
        alt.Chart(parts, width=WIDTH)
        .mark_bar()
        .encode(
            x=alt.X("tokens:Q", title="training tokens"),
            y=alt.Y("pool:N", sort=None, title=None),
            color=_pools(parts),
            tooltip=["pool", "tokens", "share", "passes"],
        )
    )
    return chart


def kept(curve: pl.DataFrame) -> Chart:
    """Show predicted loss over training tokens for each number of best bins that are kept.

    ``curve``: one row a budget and number of bins, with tokens, bins, kept (share of the tokens), loss, low, high (nats
    per token), votes (share of bootstrap draws), and chosen, whether this number is best.
    """
    shown = curve.with_columns(keep=pl.format("best {}", "bins"))
    x = alt.X("tokens:Q", scale=alt.Scale(type="log", nice=False), title="training tokens", axis=alt.Axis(format="~e"))
    base = alt.Chart(shown, width=WIDTH, height=HEIGHT)
    y = alt.Y("loss:Q", scale=alt.Scale(zero=False), title="predicted loss")
    lines = base.mark_line().encode(x=x, y=y, color=alt.Color("keep:N", title="bins kept"))
    best = base.transform_filter("datum.chosen").mark_point(filled=True, size=70, color=ACCENT)
    best = best.encode(x=x, y=y, tooltip=["tokens", "bins", "kept", "loss", "low", "high", "votes"])
    return alt.layer(lines, best)


def front(points: pl.DataFrame) -> Chart:
    """Show a Pareto front of two losses.

    ``points``: one row a mixture; the first two columns are losses in nats per token, the others shares of pools.
    """
    first, second = points.columns[:2]
    chart: Chart = (
        alt.Chart(points, width=HEIGHT + 120, height=HEIGHT)
        .mark_line(point=alt.OverlayMarkDef(size=60))
        .encode(
            x=alt.X(f"{first}:Q", scale=alt.Scale(zero=False)),
            y=alt.Y(f"{second}:Q", scale=alt.Scale(zero=False)),
            order=alt.Order(f"{first}:Q"),
            tooltip=list(points.columns),
        )
    )
    return chart


def trade_off(curve: pl.DataFrame, ceilings: pl.DataFrame) -> Chart:
    """Show general and domain loss of a continued training against the share of the domain.

    ``curve``: one row a share, with the columns share, and general, general_low, general_high, domain, domain_low,
    domain_high in nats per token. ``ceilings``: columns tolerance and ceiling, drawn as lines over general loss.
    """
    x = alt.X("share:Q", title="share of the domain")
    panels = []
    for name in ("general", "domain"):
        base = alt.Chart(curve, width=WIDTH, height=HEIGHT // 2)
        y = alt.Y(f"{name}:Q", scale=alt.Scale(zero=False), title=f"{name} loss, nats per token")
        band = base.mark_area(opacity=0.2).encode(x=x, y=alt.Y(f"{name}_low:Q", title=""), y2=f"{name}_high:Q")
        line = base.mark_line().encode(x=x, y=y, tooltip=["share", name, f"{name}_low", f"{name}_high"])
        panels.append(band + line)
    rules = alt.Chart(ceilings).mark_rule(color=ACCENT).encode(y="ceiling:Q", tooltip=["tolerance", "ceiling"])
    return alt.vconcat(panels[0] + rules, panels[1])


def _pools(plans: pl.DataFrame) -> alt.Color:
    """Return a colour for each pool, the same in all charts of a plan."""
    return alt.Color("pool:N", scale=alt.Scale(domain=plans["pool"].unique().sort().to_list()))
