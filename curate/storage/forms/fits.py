"""The form of fit.json, of the present format and of format 1."""

from typing import Annotated, Literal, NotRequired, Required, TypedDict

from msgspec import Meta

from curate.storage.forms.numbers import (
    Count,
    Filled,
    MadeByForm,
    NotNegative,
    Number,
    Parameter,
    Positive,
    Scalar,
    Share,
)

Theta = dict[str, Parameter | list[Parameter]]
Texts = list[str]
Vector = list[Number]


class DiscrepancyForm(TypedDict, total=False):
    """What a law leaves open of the level of a loss: of one law, or (with ``level``) of the whole fit."""

    scatter: Required[NotNegative]
    contrast: Required[NotNegative]
    sizes: Required[Count]
    smallest: Required[Positive]
    largest: Required[Positive]
    longest: Required[Positive]
    unfinished: Required[NotNegative]
    shortest: NotNegative
    shift_at_e: NotNegative
    size_shift: NotNegative
    length_shift: NotNegative
    level: NotNegative


class RunsForm(TypedDict, total=False):
    """The fitted runs, which boosted trees and Gaussian processes keep."""

    weights: Required[list[list[Share]]]
    tokens: Required[list[Positive]]
    params: Required[list[Positive]]
    unique: Required[list[list[NotNegative | None]]]
    distance: Required[list[Number] | None]
    progress: list[Share] | None
    areas: list[Vector] | None
    loss: Required[list[Positive]]


class TreesForm(RunsForm, total=False):
    """The runs that boosted trees are grown from."""

    outside: Required[list[Number]]
    clusters: Required[list[int]]


class SizeForm(TypedDict):
    """A size of runs."""

    compute: Number
    tokens: Positive
    params: Positive


class ChangeForm(TypedDict):
    """How the losses of mixtures change from one size to the next."""

    compute: Number
    parent: Number
    tokens: Positive
    params: Positive
    centre: Number
    stretch: Number
    doubt: NotNegative
    fresh: NotNegative
    noise: NotNegative


class ScheduleRowForm(TypedDict):
    """How well a law of schedules fits one training."""

    run: str
    r2: Number
    rows: Count
    steps: Count


class LawForm(TypedDict, total=False):
    """A fitted law, curve, set of trees or Gaussian process."""

    law: Filled
    eval: str
    pools: Annotated[Texts, Meta(min_length=1)]
    theta: Theta
    draws: Annotated[list[Theta], Meta(min_length=1)]
    rmse: NotNegative | None
    noise: NotNegative
    rows: Count
    trainings: Count
    ranges: dict[str, tuple[Number, Number]]
    heldout: dict[str, Scalar] | None
    discrepancy: DiscrepancyForm | None
    weight: NotNegative
    corpus: str
    run: str
    r2: Number
    keep: Share
    params: Positive | None
    schedules: Annotated[list[ScheduleRowForm], Meta(min_length=1)]
    on: str | Texts | None
    explained: Number
    reach: tuple[Number, Number] | None
    drift: NotNegative
    better: str
    flat: str | None
    misaligned: str | None
    base: "LawForm | None"
    options: dict[str, int | float]
    runs: RunsForm
    anchor: SizeForm
    changes: list[ChangeForm]
    run_noise: NotNegative
    count: Count
    seed: int


class FittedLawForm(TypedDict):
    """A law of mixtures."""

    law: Filled
    eval: str
    pools: Annotated[Texts, Meta(min_length=1)]
    theta: Theta
    draws: Annotated[list[Theta], Meta(min_length=1)]
    rmse: NotNegative
    noise: NotNegative
    rows: Count
    ranges: dict[str, tuple[Number, Number]]


class GrownTreesForm(TypedDict):
    """Boosted trees: the rows and the options from which they are grown again."""

    law: Filled
    eval: str
    pools: Annotated[Texts, Meta(min_length=1)]
    base: FittedLawForm | None
    options: dict[str, int | float]
    runs: TreesForm
    noise: NotNegative
    ranges: dict[str, tuple[Number, Number]]


class GaussianForm(TypedDict):
    """A Gaussian process: the runs that it goes through, its kernel, and the changes between sizes."""

    law: Filled
    eval: str
    pools: Annotated[Texts, Meta(min_length=1)]
    theta: Theta
    base: FittedLawForm | None
    anchor: SizeForm
    changes: list[ChangeForm]
    run_noise: NotNegative
    noise: NotNegative
    count: Count
    seed: int
    runs: RunsForm
    ranges: dict[str, tuple[Number, Number]]
    discrepancy: NotRequired[DiscrepancyForm | None]


class MetricForm(TypedDict):
    """The curve of a downstream metric."""

    law: Filled
    eval: str
    on: str | Texts | None
    theta: Theta
    draws: Annotated[list[Theta], Meta(min_length=1)]
    rmse: NotNegative
    explained: Number
    rows: Count


class ScheduleErrorForm(TypedDict):
    """The held-out error of a law of schedules."""

    rms: NotNegative


class RateScheduleForm(TypedDict):
    """A law of learning-rate schedules."""

    law: Filled
    eval: str
    theta: dict[str, Positive]
    draws: Annotated[list[dict[str, Positive]], Meta(min_length=1)]
    noise: NotNegative
    heldout: ScheduleErrorForm
    ranges: dict[str, tuple[Number, Number]]
    schedules: Annotated[list[ScheduleRowForm], Meta(min_length=1)]


class StepCurveForm(TypedDict):
    """The curve of one run over its steps."""

    law: Filled
    run: str
    theta: Theta


class ComparedForm(TypedDict, total=False):
    """One row of the comparison of laws."""

    law: Required[str]
    parameters: Count | None
    train: Number | None
    heldout: Number | None
    low: Number | None
    high: Number | None
    measured: Number | None
    bias: Number | None
    rms: Number | None
    shift: NotNegative | None
    scatter: NotNegative | None
    distance: NotNegative | None
    rows: Count | None
    why: str | None


class CrossingForm(TypedDict):
    """From which compute one corpus is better than another."""

    worse: str
    better: str
    flops: Positive
    low: Positive | None
    high: Positive | None
    share: Share


class CorpusPointForm(TypedDict, total=False):
    """The predicted loss of a corpus at one compute."""

    corpus: Required[str]
    flops: Required[Positive]
    loss: Required[Number]
    low: Required[Number]
    high: Required[Number]
    best: str


class BestShareForm(TypedDict):
    """The best share to keep at one size."""

    size: Positive
    keep: Share
    low: Share
    high: Share
    kept: Number
    error: Number
    error_all: Number
    extrapolated: bool


class FitForm(LawForm, total=False):
    """The content of fit.json. The fields of a law stand at the top in format 1."""

    laws: Annotated[list[LawForm], Meta(min_length=1)]
    fits: list[LawForm] | dict[str, LawForm]
    weights: list[Number]
    evals: Texts
    by: str
    compared: list[ComparedForm]
    crossings: list[CrossingForm]
    curves: list[CorpusPointForm]
    best_shares: list[BestShareForm]
    largest_kept: Positive
    metric_kind: Literal["error", "accuracy", "positive"]
    made_by: MadeByForm
