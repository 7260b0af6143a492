"""The form of fit.json, of the present format and of format 1."""

from typing import Annotated, Required, TypedDict

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


class TreesForm(TypedDict, total=False):
    """The rows that boosted trees are grown from."""

    weights: Required[list[list[Share]]]
    tokens: Required[list[Positive]]
    params: Required[list[Positive]]
    unique: Required[list[list[NotNegative | None]]]
    distance: Required[list[Number] | None]
    loss: Required[list[Positive]]
    outside: Required[list[Number]]
    clusters: Required[list[int]]


class LawForm(TypedDict, total=False):
    """A fitted law, curve or set of trees."""

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
    weight: NotNegative
    corpus: str
    run: str
    r2: Number
    keep: Share
    on: str | Texts | None
    explained: Number
    reach: tuple[Number, Number] | None
    drift: NotNegative
    better: str
    flat: str | None
    misaligned: str | None
    base: "LawForm | None"
    options: dict[str, int | float]
    runs: TreesForm


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
    bias: Number | None
    rms: Number | None
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
    made_by: MadeByForm
