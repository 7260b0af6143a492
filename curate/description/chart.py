"""Charts of a description; imported only when a chart is asked for.

In: a description's numbers and tables. Out: Altair charts.
"""

import altair as alt
import polars as pl

from curate.charts.chart import HEIGHT, WIDTH, Chart


def of_overlap(overlap: pl.DataFrame) -> Chart:
    """Return a heat map: of each source's rows, the share whose nearest other row is in each source."""
    shares = overlap.unpivot(index="source", variable_name="nearest", value_name="share")
    shares = shares.with_columns(pl.col("nearest").str.strip_prefix("in "))
    chart: Chart = (
        alt.Chart(shares, width=WIDTH, height=HEIGHT)
        .mark_rect()
        .encode(
            x=alt.X("nearest:N", title="source of the nearest other row"),
            y=alt.Y("source:N", title="source of the row"),
            color=alt.Color("share:Q", title="share of rows", scale=alt.Scale(domain=[0, 1])),
            tooltip=["source", "nearest", alt.Tooltip("share:Q", format=".2f")],
        )
    )
    return chart


def of_dimensions(dimension: tuple[float, float], two_nn: tuple[float, float]) -> Chart:
    """Return bars of the two estimates of the intrinsic dimension, on the sample and on half of it."""
    estimates = pl.DataFrame(
        {
            "estimator": ["maximum likelihood", "maximum likelihood", "TwoNN", "TwoNN"],
            "rows": ["sample", "half of it"] * 2,
            "dimension": [*dimension, *two_nn],
        }
    )
    chart: Chart = (
        alt.Chart(estimates, width=WIDTH, height=HEIGHT)
        .mark_bar()
        .encode(
            x=alt.X("dimension:Q", title="intrinsic dimension"),
            y=alt.Y("estimator:N", title=None),
            yOffset=alt.YOffset("rows:N", sort=["sample", "half of it"]),
            color=alt.Color("rows:N", title="rows", sort=["sample", "half of it"]),
        )
    )
    return chart


def of_clusters(clusters: pl.DataFrame) -> Chart:
    """Return bars of the share of each cluster in two data sets, named by the words of the cluster."""
    name = pl.when(pl.col("words") == "").then(pl.format("cluster {}", "cluster")).otherwise("words")
    named = clusters.select(name.alias("name"), pl.col("first").alias("data"), pl.col("second").alias("against"))
    chart: Chart = (
        alt.Chart(named.unpivot(index="name", variable_name="rows of", value_name="share"), width=WIDTH)
        .mark_bar()
        .encode(
            x=alt.X("share:Q", title="share of the rows", axis=alt.Axis(format="%")),
            y=alt.Y("name:N", title=None, sort=None, axis=alt.Axis(labelLimit=300)),
            yOffset=alt.YOffset("rows of:N", sort=["data", "against"]),
            color=alt.Color("rows of:N", title="rows of", sort=["data", "against"]),
        )
    )
    return chart
