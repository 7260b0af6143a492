"""Forms of plan.json, schedule.json, cmr.json and check.json."""

from typing import Annotated, Required, TypedDict

from msgspec import Meta

from curate.storage.forms.numbers import Filled, Interval, MadeByForm, NotNegative, Number, Positive, Share
from curate.storage.forms.pools import PoolForm


class BudgetForm(TypedDict):
    """A training budget."""

    tokens: Positive
    params: Positive


# By baseline a number, by eval an interval. Before `evals` had a field of its own, `losses` were by eval. The interval
# is no tuple: a mistake in a union of a number and a tuple damages memory in msgspec 0.23.
LossesForm = dict[str, Number | Annotated[list[Number], Meta(min_length=3, max_length=3)]]


class PlanForm(TypedDict, total=False):
    """The plan of one budget."""

    budget: Required[BudgetForm]
    weights: Required[Annotated[dict[str, Share], Meta(min_length=1)]]
    epochs: dict[str, NotNegative]
    loss: Number | None
    low: Number | None
    high: Number | None
    gain: Number | None
    gain_low: Number | None
    gain_high: Number | None
    gains: dict[str, Interval]
    losses: LossesForm
    evals: dict[str, Interval]
    spread: Number | None
    shares: dict[str, tuple[Share, Share]]
    ranges: dict[str, tuple[Share, Share]]
    within: NotNegative
    warnings: list[str]
    limits: list[str]


class FrontPlanForm(TypedDict, total=False):
    """One mixture of a Pareto front."""

    weights: Required[dict[str, Share]]
    losses: LossesForm
    evals: dict[str, Interval]


class FrontForm(TypedDict):
    """A Pareto front of two evals."""

    tokens: Positive
    evals: list[str]
    plans: Annotated[list[FrontPlanForm], Meta(min_length=1)]


class EventForm(TypedDict, total=False):
    """A change along the budgets in words. In format 1 the text has another name, which the reader knows."""

    text: str


class KeptBinsForm(TypedDict, total=False):
    """What keeping some of the bins gives at one budget."""

    tokens: Required[Positive]
    params: Number
    bins: Required[Number]
    kept: Required[Share]
    loss: Required[Number]
    low: Required[Number]
    high: Required[Number]
    votes: Required[Share]
    chosen: Required[bool]


class ScoringGainForm(TypedDict, total=False):
    """What scoring gains at one budget. Losses are null where scoring costs the whole budget."""

    tokens: Required[Positive]
    params: Required[Number]
    spent: Required[Number]
    bins: Required[Number]
    scored: Required[Number | None]
    unscored: Required[Number]
    gain: Required[Number | None]
    low: Required[Number | None]
    high: Required[Number | None]
    break_even: Required[Number]
    text: str


class KeepForm(TypedDict, total=False):
    """How much of the data to keep."""

    curve: Required[Annotated[list[KeptBinsForm], Meta(min_length=1)]]
    changes: list[EventForm]
    scoring: list[ScoringGainForm]
    paying: EventForm


class OmittedPointForm(TypedDict):
    """A budget of the grid without a plan, and the reason."""

    budget: BudgetForm
    reason: str


class PlansForm(TypedDict, total=False):
    """The content of plan.json."""

    plans: Required[list[PlanForm]]
    grid: list[PlanForm]
    grid_omitted: list[OmittedPointForm]
    fitted: dict[str, tuple[Positive, Positive]]
    pools: list[PoolForm]
    baselines: dict[str, dict[str, Share]]
    crossings: list[EventForm] | None
    front: list[FrontForm]
    keep: KeepForm
    made_by: MadeByForm


PhaseForm = TypedDict(
    "PhaseForm",
    {"from": Share, "to": Share, "weights": Annotated[dict[str, Share], Meta(min_length=1)]},
)


class ScheduleForm(TypedDict, total=False):
    """The content of schedule.json."""

    phases: Required[Annotated[list[PhaseForm], Meta(min_length=1)]]
    tokens: Positive
    pools: list[PoolForm]
    warnings: list[str]
    limits: list[str]
    made_by: MadeByForm


class RatioForm(TypedDict, total=False):
    """One critical ratio."""

    budget: Required[BudgetForm]
    pool: Required[Filled]
    tolerance: Required[Number | None]
    ceiling: Required[Number]
    share: Required[Share | None]
    low: Required[Share | None]
    high: Required[Share | None]
    safe: Required[Share | None]
    best: Required[Share | None]
    note: Required[str]


class RatiosForm(TypedDict, total=False):
    """The content of cmr.json."""

    ratios: Required[Annotated[list[RatioForm], Meta(min_length=1)]]
    warnings: list[str]
    limits: list[str]
    made_by: MadeByForm


class CheckedMixtureForm(TypedDict):
    """One mixture that was trained."""

    mixture: Filled
    predicted: Number
    low: Number
    high: Number
    measured: Number
    inside: bool


class CheckForm(TypedDict, total=False):
    """The content of check.json, as the demo writes it."""

    tokens: Positive
    rows: Annotated[list[CheckedMixtureForm], Meta(min_length=1)]
