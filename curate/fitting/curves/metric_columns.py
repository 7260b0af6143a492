"""Name the columns of a run table that hold metrics, and the values of the option --metric."""

from curate.runs.runs import Runs

AUTO, NONE = "auto", "none"  # values of --metric: all metrics with enough rows, if they are not many, or no metric
PREFIX = "metric."


def metric_names(runs: Runs) -> tuple[str, ...]:
    """Return the names of the metrics of a run table: its columns ``metric.<name>``."""
    return tuple(name.removeprefix(PREFIX) for name in runs.frame.columns if name.startswith(PREFIX))
