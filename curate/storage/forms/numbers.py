"""The types of single values, with their ranges."""

from typing import Annotated, TypedDict

from msgspec import Meta

# No corpus, model or training is near it, and products of several such numbers are still finite.
LARGEST = 1e30
# Of the parameters of a law, whose factors may be far larger than any loss.
LARGEST_PARAMETER = 1e100
ROUNDING = 1e-6  # by how much a computed share may exceed 1

Number = Annotated[float, Meta(ge=-LARGEST, le=LARGEST)]
Parameter = Annotated[float, Meta(ge=-LARGEST_PARAMETER, le=LARGEST_PARAMETER)]
Positive = Annotated[float, Meta(gt=0, le=LARGEST)]
NotNegative = Annotated[float, Meta(ge=0, le=LARGEST)]
Share = Annotated[float, Meta(ge=-ROUNDING, le=1 + ROUNDING)]
Count = Annotated[int, Meta(ge=0, le=2**62)]
# Null characters end a path in the middle.
PathText = Annotated[str, Meta(min_length=1, pattern=r"\A[^\x00]*\Z")]
Filled = Annotated[str, Meta(min_length=1)]
Interval = tuple[Number, Number, Number]  # value, low, high
Scalar = Number | str | bool | None


class MadeByForm(TypedDict, total=False):
    """How an artefact was made."""

    version: str
    seed: int
    arguments: dict[str, object]
    inputs: dict[str, str]
