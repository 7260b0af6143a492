"""curate: which data to train on, in what ratio, for the compute at hand.

Rows become pools. Runs become laws. Pools and laws become a plan.

The names in ``__all__`` are the public interface: one function for each job, and the records that they take and
return. Each name is imported when it is first used, so ``import curate`` is instant. Everything else may change.
"""

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from curate.continual.job import cmr as cmr
    from curate.continual.result import CriticalRatios as CriticalRatios
    from curate.description.comparison.result import DataComparison as DataComparison
    from curate.description.describe import describe as describe
    from curate.description.result import Description as Description
    from curate.encoders import Encoder as Encoder
    from curate.engines import Engine as Engine
    from curate.errors import CurateError as CurateError
    from curate.errors import FitError as FitError
    from curate.errors import Infeasible as Infeasible
    from curate.errors import Interrupted as Interrupted
    from curate.errors import SchemaError as SchemaError
    from curate.exports import Export as Export
    from curate.exports import Exported as Exported
    from curate.exports import export as export
    from curate.fitting.fit import Fit as Fit
    from curate.fitting.fit_report import FitReport as FitReport
    from curate.fitting.job import fit as fit
    from curate.fitting.plan_job import plan as plan
    from curate.fitting.predict import predict as predict
    from curate.fitting.predictions import Predictions as Predictions
    from curate.fitting.solver.multistart import FitOptions as FitOptions
    from curate.laws import Law as Law
    from curate.laws import Param as Param
    from curate.planning.limits import Group as Group
    from curate.planning.limits import Limits as Limits
    from curate.planning.plan import Plan as Plan
    from curate.planning.plans import Plans as Plans
    from curate.pool.pool import Budget as Budget
    from curate.pool.pool import Pool as Pool
    from curate.pruning.make_pools import Pools as Pools
    from curate.pruning.make_pools import pools as pools
    from curate.pruning.prune import prune as prune
    from curate.pruning.pruned import Pruned as Pruned
    from curate.reporting.report import report as report
    from curate.reporting.result import Report as Report
    from curate.runs.pilots import pilot as pilot
    from curate.runs.predictors.predictor import Predictor as Predictor
    from curate.runs.recipes import Recipes as Recipes
    from curate.runs.runs import Runs as Runs
    from curate.schedules.job import Schedule as Schedule
    from curate.schedules.job import schedule as schedule
    from curate.scorers import Scorer as Scorer
    from curate.scoring.reports.result import Scored as Scored
    from curate.scoring.score import score as score
    from curate.selection.job import select as select
    from curate.selection.result import Selection as Selection
    from curate.trainers import Trainer as Trainer
    from curate.training_set.draw import TrainingSet as TrainingSet
    from curate.training_set.job import materialize as materialize

# The module of each public name. `tests/test_public_interface.py` keeps it equal to the imports above, which are
# for type checkers and editors.
_MODULES = {
    "Budget": "pool.pool",
    "CriticalRatios": "continual.result",
    "CurateError": "errors",
    "DataComparison": "description.comparison.result",
    "Description": "description.result",
    "Encoder": "encoders",
    "Engine": "engines",
    "Export": "exports",
    "Exported": "exports",
    "Fit": "fitting.fit",
    "FitError": "errors",
    "FitOptions": "fitting.solver.multistart",
    "FitReport": "fitting.fit_report",
    "Group": "planning.limits",
    "Infeasible": "errors",
    "Interrupted": "errors",
    "Law": "laws",
    "Limits": "planning.limits",
    "Param": "laws",
    "Plan": "planning.plan",
    "Plans": "planning.plans",
    "Pool": "pool.pool",
    "Pools": "pruning.make_pools",
    "Predictions": "fitting.predictions",
    "Predictor": "runs.predictors.predictor",
    "Pruned": "pruning.pruned",
    "Recipes": "runs.recipes",
    "Report": "reporting.result",
    "Runs": "runs.runs",
    "Schedule": "schedules.job",
    "SchemaError": "errors",
    "Scored": "scoring.reports.result",
    "Scorer": "scorers",
    "Selection": "selection.result",
    "Trainer": "trainers",
    "TrainingSet": "training_set.draw",
    "cmr": "continual.job",
    "describe": "description.describe",
    "export": "exports",
    "fit": "fitting.job",
    "materialize": "training_set.job",
    "pilot": "runs.pilots",
    "plan": "fitting.plan_job",
    "pools": "pruning.make_pools",
    "predict": "fitting.predict",
    "prune": "pruning.prune",
    "report": "reporting.report",
    "schedule": "schedules.job",
    "score": "scoring.score",
    "select": "selection.job",
}

__all__ = list(_MODULES)


def __getattr__(name: str) -> object:
    """Import a public name when it is first used."""
    if name not in _MODULES:
        raise AttributeError(f"module 'curate' has no attribute {name!r}")
    value = getattr(import_module(f"curate.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Return the public names, for completion in an editor or a notebook."""
    return [*_MODULES, "__version__"]
