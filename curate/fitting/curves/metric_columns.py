"""Name the columns of a run table that hold metrics, and the values of the option --metric."""

import numpy as np

from curate.runs.runs import Runs

AUTO, NONE = "auto", "none"  # values of --metric: all metrics with enough rows, if they are not many, or no metric
PREFIX = "metric."
# Words in the names of metrics that are not rates, although their values may lie between 0 and 1.
NOT_RATES = ("bpb", "bits", "nll", "perplexity", "ppl", "loss")
# Words in the names of metrics that are percentages if their values go beyond 1 and stay below 100.
RATES = ("acc", "err", "rate", "percent", "pct")


def metric_names(runs: Runs) -> tuple[str, ...]:
    """Return the names of the metrics of a run table: its columns ``metric.<name>``."""
    return tuple(name.removeprefix(PREFIX) for name in runs.frame.columns if name.startswith(PREFIX))


def note_of_infinite(runs: Runs, column: str, values: np.ndarray) -> tuple[str, ...]:
    """Return a note if some of the (n,) values of a column are infinite. A curve leaves them out, as empty cells."""
    rows = np.isinf(values)
    if not rows.any():
        return ()
    return (
        f"{column} is infinite in {int(rows.sum())} of {len(values)} rows, the first is "
        f"{runs.frame['run'][int(rows.argmax())]!r}. Its curve leaves them out",
    )


def word_of_no_rate(name: str) -> str | None:
    """Return the word in the name of a metric that says that it is not a rate, or None."""
    return next((word for word in NOT_RATES if word in name.lower()), None)


def bounds(name: str, values: np.ndarray) -> tuple[float, float] | None:
    """Return the lowest and highest value that a metric can have if its name and (n,) values show a rate, else None."""
    low, high = float(values.min()), float(values.max())
    if word_of_no_rate(name) is not None or low < 0 or high > 100:
        return None
    if high <= 1:
        return 0.0, 1.0
    return (0.0, 100.0) if any(word in name.lower() for word in RATES) else None
