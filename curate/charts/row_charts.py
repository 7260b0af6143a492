"""Charts of the rows of a training set: their scores, sources and pools."""

import altair as alt
import polars as pl

from curate.charts.chart import HEIGHT, WIDTH, Chart

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
