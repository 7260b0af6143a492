"""Draw results as Altair charts.

In: polars frames, whose columns and units each function states. Out: charts. May use: no room.
Results import this file only when a chart is asked for, since altair takes long to load.
"""

import altair as alt
import polars as pl

Chart = alt.Chart | alt.LayerChart | alt.FacetChart | alt.VConcatChart | alt.HConcatChart
WIDTH, HEIGHT = 560, 260  # pixels of a chart
ACCENT, MUTED = "#d94801", "#999"  # of what a reader should look at, and of helping lines
BINS = 40  # of a histogram
TAIL = 0.005  # of the scores at either end are drawn in the last bar, so that outliers do not squeeze the rest


def histogram(scores: pl.DataFrame, column: str) -> Chart:
    """Show the distribution of one score, with a colour for each source.

    ``scores``: one row an example, with ``source`` and the score ``column``.
    """
    low, high = scores[column].quantile(TAIL) or 0.0, scores[column].quantile(1 - TAIL) or 1.0
    step = (high - low) / BINS or 1.0
    place = ((pl.col(column).clip(low, high) - low) / step).floor().clip(0, BINS - 1)
    bins = scores.select("source", place.alias("bin"))
    counts = bins.group_by("source", "bin").len("rows").sort("source", "bin")
    counts = counts.with_columns(
        (low + pl.col("bin") * step).alias("from"), (low + (pl.col("bin") + 1) * step).alias("to")
    )
    chart: Chart = (
        alt.Chart(counts, width=WIDTH, height=180, title=column)
        .mark_bar()
        .encode(
            x=alt.X("from:Q", bin="binned", title=column, scale=alt.Scale(zero=False)),
            x2="to:Q",
            y=alt.Y("rows:Q", stack="zero"),
            color=alt.Color("source:N"),
            tooltip=["source", "from", "to", "rows"],
        )
    )
    return chart


def source_shares(by_source: pl.DataFrame) -> Chart:
    """Show each source's share of tokens before and after pruning; a row has source, share and share_kept."""
    bars = by_source.select("source", before="share", after="share_kept")
    bars = bars.unpivot(["before", "after"], index="source", variable_name="pruning", value_name="share")
    chart: Chart = (
        alt.Chart(bars, width=WIDTH)
        .mark_bar()
        .encode(
            x=alt.X("share:Q", title="share of tokens", axis=alt.Axis(format="%")),
            y=alt.Y("source:N", title=None),
            yOffset=alt.YOffset("pruning:N", sort=["before", "after"]),
            color=alt.Color("pruning:N", sort=["before", "after"]),
            tooltip=["source", "pruning", alt.Tooltip("share:Q", format=".2%")],
        )
    )
    return chart


def pool_tokens(pools: pl.DataFrame) -> Chart:
    """Show the unique tokens of each pool; a row has pool, tokens and examples."""
    chart: Chart = (
        alt.Chart(pools, width=WIDTH)
        .mark_bar()
        .encode(
            x=alt.X("tokens:Q", title="unique tokens", axis=alt.Axis(format="~s")),
            y=alt.Y("pool:N", title=None, sort=None),
            tooltip=["pool", "tokens", "examples"],
        )
    )
    return chart


def drawn_passes(draws: pl.DataFrame) -> Chart:
    """Show the tokens drawn from each pool beside its unique tokens; a row has pool, tokens and unique_tokens."""
    bars = draws.select("pool", drawn="tokens", unique="unique_tokens")
    bars = bars.unpivot(["drawn", "unique"], index="pool", variable_name="count", value_name="tokens")
    chart: Chart = (
        alt.Chart(bars, width=WIDTH)
        .mark_bar()
        .encode(
            x=alt.X("tokens:Q", axis=alt.Axis(format="~s")),
            y=alt.Y("pool:N", title=None),
            yOffset=alt.YOffset("count:N", sort=["unique", "drawn"]),
            color=alt.Color("count:N", sort=["unique", "drawn"], title="tokens"),
            tooltip=["pool", "count", "tokens"],
        )
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
    diagonal = alt.Chart(pl.DataFrame({"x": ends})).mark_line(color="#999").encode(x="x:Q", y="x:Q")
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


def _pools(plans: pl.DataFrame) -> alt.Color:
    """Return a colour for each pool, the same in all charts of a plan."""
    return alt.Color("pool:N", scale=alt.Scale(domain=plans["pool"].unique().sort().to_list()))


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


def selection(shares: pl.DataFrame, compared: pl.DataFrame, chosen: str) -> Chart:
    """Show the share of each source, beside the distance of the compared mixtures to the target.

    ``shares``: one row a source, with the columns source, share, examples. ``compared``: one row a mixture, with the
    columns name and distance (in units of the target's spread). ``chosen``: the name that is highlighted.
    """
    bars = alt.Chart(shares, width=WIDTH // 2, height=HEIGHT, title="share of each source").mark_bar()
    bars = bars.encode(x="share:Q", y=alt.Y("source:N", sort="-x", title=None), tooltip=["source", "share", "examples"])
    marked = compared.with_columns(chosen=pl.col("name") == chosen)
    ways = alt.Chart(marked, width=WIDTH // 2, height=HEIGHT, title="distance to the target").mark_bar()
    ways = ways.encode(
        x=alt.X("distance:Q", title="distance, in units of the target's spread"),
        y=alt.Y("name:N", sort="x", title=None),
        color=alt.Color("chosen:N", legend=None),
        tooltip=["name", "distance", "allowed"],
    )
    return alt.hconcat(bars, ways)


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
