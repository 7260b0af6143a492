"""The curves by name: how each is fitted to a run table."""

from collections.abc import Callable, Mapping

from curate.fitting.curves.fit_metrics import fit_downstream
from curate.fitting.curves.fit_pruning import fit_pruning_curves
from curate.fitting.curves.schedules import schedule_laws
from curate.fitting.curves.schedules.fit_relearn import fit_relearn
from curate.fitting.curves.schedules.fit_schedules import fit_schedules
from curate.fitting.fit_report import FitQuestion, FitReport
from curate.runs.runs import Runs

CURVES: Mapping[str, Callable[[Runs, FitQuestion], FitReport]] = {
    **dict.fromkeys(schedule_laws.LAWS, fit_schedules),
    "downstream": fit_downstream,
    "pruning_curves": fit_pruning_curves,
    "relearn": fit_relearn,
}
