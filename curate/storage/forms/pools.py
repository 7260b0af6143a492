"""Forms of pools.json and of the pools in other files."""

from typing import Annotated, Literal, Required, TypedDict

from msgspec import Meta

from curate.storage.forms.numbers import Filled, MadeByForm, NotNegative, Number, PathText, Positive


class PoolForm(TypedDict, total=False):
    """One pool."""

    name: Required[Filled]
    tokens: Required[Positive]
    examples: NotNegative | None
    where: list[PathText] | None
    filter: dict[str, str] | Literal[""] | None  # other programs write an empty text for none
    score: dict[str, tuple[Number | None, Number | None]] | None
    scores: PathText | None
    kept: PathText | None
    cost_per_token: NotNegative | None
    token_counts: Literal["column", "tokenizer", "estimate"] | None


class PoolsForm(TypedDict, total=False):
    """The content of pools.json."""

    pools: Required[Annotated[list[PoolForm], Meta(min_length=1)]]
    made_by: MadeByForm
