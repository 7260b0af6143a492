"""Check the laws, evals and metrics that the user names, and whether they can be fitted together."""

from collections.abc import Sequence

import numpy as np

from curate import open_sets, written_names
from curate.errors import CurateError, SchemaError, first_few
from curate.fitting.choice.default_laws import AUTO
from curate.fitting.choice.without_formula import OPTIONS
from curate.fitting.curves import metric_columns
from curate.fitting.curves.kinds import CURVES
from curate.runs.runs import Runs

ALL_EVALS = "all"  # --eval all: every loss of the table


def laws_of(law: str | Sequence[str]) -> tuple[str, ...]:
    """Return the named laws, before the table is read.

    Raises:
        CurateError: if there is no name, or one is unknown (the message gives the nearest one).
    """
    specs = tuple(open_sets.split(law) if isinstance(law, str) else law)
    if not specs:
        raise SchemaError("no law is named: name one or more, or auto")
    others = (*OPTIONS, *CURVES, AUTO)
    for name in (open_sets.parse(spec)[0] for spec in specs):
        # A file without the name of a class has a message of its own.
        if name not in others and not open_sets.exists("laws", name) and not name.endswith(".py"):
            choices = (*open_sets.names("laws"), *open_sets.installed("laws"), *others)
            raise CurateError(open_sets.unknown(name, choices, kind="law"))
    return specs


def evals(runs: Runs, names: str | Sequence[str] | None, *, alone: bool) -> tuple[str, ...]:
    """Return the evals to fit: the named ones, or all that were measured. ``alone``: only one eval can be fitted.

    Raises:
        SchemaError: if the table has no loss, or has several where one must be chosen.
    """
    if names is None and not alone and runs.evals:
        # An empty column says nothing; that it is empty is an error only if the user names it, or all are empty.
        measured = tuple(name for name in runs.evals if not np.isnan(runs.numbers(f"loss.{name}")).all())
        return measured or runs.evals
    if names == ALL_EVALS or (names is None and len(runs.evals) == 1):
        return runs.evals
    if not names:
        raise SchemaError(f"{runs.origin} has the evals {first_few(runs.evals) or 'none'}. Choose one with --eval NAME")
    return tuple(written_names.names(names) if isinstance(names, str) else names)


def notes_on_evals(runs: Runs, evals: Sequence[str]) -> tuple[str, ...]:
    """Return notes that the evals of a table are fitted together, and which are left out because they are empty."""
    empty = [f"loss.{name}" for name in runs.evals if name not in evals]
    notes = (f"{first_few(empty)} {'is' if len(empty) == 1 else 'are'} left out: empty in all rows",) if empty else ()
    if len(evals) < 2:
        return notes
    together = (
        f"{len(evals)} evals are fitted together: {first_few(evals)}. The fit predicts each of them, and a plan "
        "minimises their mean unless --target names another aim"
    )
    return (together, *notes)


def is_curve(spec: str) -> bool:
    """Return whether ``spec`` names a curve, such as `annealing`, rather than a law over recipes."""
    return open_sets.parse(spec)[0] in CURVES


def why_not(laws: Sequence[str], evals: Sequence[str], metrics: Sequence[str], by: str | None) -> str | None:
    """Return why these laws, evals, metrics and corpora cannot be fitted together, or None if they can."""
    return _alone(laws, evals, by) or _metrics_alone(laws, metrics, by)


def _alone(specs: Sequence[str], evals: Sequence[str], by: str | None) -> str | None:
    """Return why these laws and evals cannot be fitted together, or None if they can.

    Corpora and curves take one law and one eval.
    """
    curve = next((spec for spec in specs if is_curve(spec)), None)
    if (by is None and curve is None) or (len(specs) == 1 and len(evals) == 1):
        return None
    name = "--by" if by is not None else f"--law {curve}"
    return f"{name} takes one law and one eval; {len(specs)} and {len(evals)} are given"


def _metrics_alone(specs: Sequence[str], metrics: Sequence[str], by: str | None) -> str | None:
    """Return the reason if these metrics cannot be fitted together with the laws, else None.

    A metric that the user names needs a law of the losses. With --by, or with a curve as --law, there is none.
    """
    if tuple(metrics) in ((metric_columns.AUTO,), (metric_columns.NONE,)):
        return None
    if by is not None:
        return f"--metric {','.join(metrics)} needs laws of one corpus: leave --by out, and choose a corpus by --where"
    curve = next((spec for spec in specs if is_curve(spec)), None)
    if curve is None:
        return None
    return (
        f"--metric {','.join(metrics)} needs a law of the losses, and --law {curve} is a curve. Name a law, such as "
        "chinchilla, or leave --metric out"
    )
