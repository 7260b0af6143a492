"""Read the JSON files of a folder, and name the fields that a report shows of them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NotRequired, TypedDict, TypeVar

import polars as pl

from curate.storage import artifacts, files, s3, schema
from curate.tables import token_counts

Values = Mapping[str, object]
T = TypeVar("T")


class WithWarnings(TypedDict):
    """The warnings of a record; files of format 1 call them limits."""

    warnings: NotRequired[list[str]]
    limits: NotRequired[list[str]]


class BudgetFields(TypedDict):
    """A training budget: tokens, and parameters of the model."""

    tokens: float
    params: float


class PlannedBudget(WithWarnings):
    """The plan of one budget: shares and passes by pool, the loss with its interval, gains over standard mixtures.

    ``shares`` and ``ranges`` are bounds of each share: over bootstrap draws, and among near-optimal mixtures, whose
    loss is at most ``within`` nats per token higher.
    """

    budget: BudgetFields
    weights: dict[str, float]
    epochs: dict[str, float]
    loss: float
    low: float
    high: float
    gains: dict[str, tuple[float, float, float]]
    shares: NotRequired[dict[str, tuple[float, float]]]
    ranges: NotRequired[dict[str, tuple[float, float]]]
    within: NotRequired[float]
    metric: NotRequired["MetricFields"]


class MetricFields(TypedDict):
    """The predicted metric of a plan with its interval, and the gain over size-proportional sampling with its own."""

    name: str
    value: float
    low: float
    high: float
    gain: float
    gain_low: float
    gain_high: float


class FrontPoint(TypedDict):
    """A mixture of a Pareto front, with the loss of each eval and its interval; older files call them ``losses``."""

    evals: NotRequired[dict[str, tuple[float, float, float]]]
    losses: NotRequired[dict[str, float | list[float]]]
    weights: dict[str, float]


class ParetoFront(TypedDict):
    """The Pareto front of two evals at one number of training tokens."""

    tokens: float
    evals: list[str]
    plans: list[FrontPoint]


class KeptBins(TypedDict):
    """The predicted loss for each number of score bins that are kept, where the best number changes, and the cost."""

    curve: list[Values]
    changes: NotRequired[list[Values]]
    scoring: NotRequired[list[Values]]
    paying: NotRequired[Values]


class OmittedFields(TypedDict):
    """A budget of the grid without a plan, and the reason."""

    budget: BudgetFields
    reason: str


class PlanRecord(TypedDict):
    """The fields of plan.json.

    ``grid`` has plans at more token counts, for the picture; older files have none. ``fitted`` has the smallest and
    the largest tokens and params of the fitted runs.
    """

    plans: list[PlannedBudget]
    grid: NotRequired[list[PlannedBudget]]
    grid_omitted: NotRequired[list[OmittedFields]]
    fitted: NotRequired[dict[str, tuple[float, float]]]
    crossings: NotRequired[list[Values]]
    keep: NotRequired[KeptBins]
    front: NotRequired[list[ParetoFront]]
    pools: NotRequired[list[Values]]


class CheckRecord(TypedDict):
    """The fields of check.json: one row a mixture that was trained for ``tokens``."""

    tokens: float
    rows: list[Values]


# A function, because `from` is a keyword of the language.
PhaseFields = TypedDict("PhaseFields", {"from": float, "to": float, "weights": dict[str, float]})


class ScheduleRecord(WithWarnings):
    """The fields of schedule.json: the shares in each part of training."""

    phases: list[PhaseFields]
    pools: NotRequired[list[Values]]


class RatiosRecord(WithWarnings):
    """The fields of cmr.json: one critical ratio a tolerance and budget."""

    ratios: list[Values]


def read(folder: Path, kind: str, form: type[T]) -> T | None:
    """Return the artefact ``<kind>.json`` of a folder, or None if there is no such file.

    Raises:
        SchemaError: if the file is of another kind or format, or lacks a field that the report shows.
    """
    path = folder / f"{kind}.json"
    if not files.exists(path):
        return None
    return schema.check(artifacts.load(path, kind), form, s3.shown(path), artifacts.KINDS[kind].remedy)


def estimates(pools: Sequence[Values]) -> str:
    """Return a sentence on pools whose tokens are estimates, with a space before it; empty if there are none."""
    names = [str(pool.get("name")) for pool in pools if pool.get("token_counts") == token_counts.ESTIMATE]
    return "".join(f" {line}" for line in token_counts.lines_on(names, len(pools)))


def losses_by_eval(point: FrontPoint) -> dict[str, float]:
    """Return the loss of each eval of a mixture on a Pareto front. Numbers under ``losses`` belong to baselines."""
    if "evals" in point:
        return {name: interval[0] for name, interval in point["evals"].items()}
    return {name: loss[0] for name, loss in point.get("losses", {}).items() if isinstance(loss, list)}


def warning_lines(record: WithWarnings) -> list[str]:
    """Return the warnings of a record, by either name."""
    return [str(line) for line in record.get("warnings", record.get("limits", []))]


def warning_tables(record: WithWarnings) -> list[pl.DataFrame]:
    """Return the warnings as a table of one column; no table if there are none."""
    lines = warning_lines(record)
    return [pl.DataFrame({"warnings": lines})] if lines else []


def sentences(events: Sequence[Values]) -> str:
    """Return what a plan says of its changes, as one text; files of format 1 call each text ``said``."""
    return ". ".join(str(event.get("text", event.get("said", ""))) for event in events)
