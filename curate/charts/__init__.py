"""Draw results as Altair charts.

In: polars frames, whose columns and units each function states. Out: charts. May use: no room.
Results import these files only when a chart is asked for, since altair takes long to load.
"""
