"""Forms of the records that a job leaves in its folder, to continue it later."""

from typing import Annotated, Literal, NotRequired, Required, TypedDict

from msgspec import Meta

from curate.storage.forms.numbers import Count, Filled, Number, PathText


class InputForm(TypedDict, total=False):
    """An input file; format 1 calls the size ``bytes``."""

    hash: Required[Filled]
    size: Count | None
    bytes: Count | None
    stamp: str


class JobForm(TypedDict, total=False):
    """The arguments and inputs of a job."""

    arguments: dict[str, object]
    inputs: Required[dict[str, str | InputForm]]


class LearnedForm(JobForm, total=False):
    """What decides the learned state of a scorer."""

    scorer: Filled
    aside: Required[list[str]]
    notes: list[str]
    parts: dict[str, Count]
    results: dict[str, Count | None]
    seal: str


class CorpusPartForm(TypedDict):
    """A part of the data of a scoring job: ranges of rows as input, first row and end (None: the end of the input)."""

    generation: Count
    pieces: list[tuple[Filled, Count, Count | None]]


class CorpusForm(TypedDict, total=False):
    """The parts into which the data of a scoring job is cut."""

    parts: Required[list[CorpusPartForm]]
    seal: str


class ScoreJobForm(TypedDict, total=False):
    """The arguments of a scoring job."""

    data: Required[Annotated[list[PathText], Meta(min_length=1)]]
    scorers: Required[Annotated[list[Filled], Meta(min_length=1)]]
    text_column: Required[Filled]
    columns: dict[str, Filled]
    join: Annotated[list[str], Meta(min_length=1)]
    render: Literal["chat"]
    batch_rows: Required[Annotated[int, Meta(gt=0, le=2**31)]]
    formats: dict[str, Annotated[int, Meta(ge=0, le=2**31)]]
    dtype: str
    carry: dict[Filled, Filled]
    tokens: Literal["column", "tokenizer", "estimate"]
    targets: dict[str, str]
    scorer_files: dict[str, str]


class RecipeStepForm(TypedDict):
    """One step of a run: its arguments, a hash of what earlier steps wrote, whether it ended, and its output files."""

    arguments: dict[str, object]
    earlier: str
    ended: bool
    outputs: dict[str, str | InputForm]


class StepFailureForm(TypedDict):
    """The step at which a run stopped with an error, and its message."""

    step: Filled
    reason: str


class RecipeRunForm(TypedDict):
    """The recipe that a folder was made by, as a path from the folder, its content hash, and the steps by name."""

    recipe: str
    content: Filled
    steps: dict[str, RecipeStepForm]
    failed: NotRequired[StepFailureForm]


class DrawForm(TypedDict):
    """What is drawn of one pool."""

    target: Count
    unique: Count
    rows: Count
    full: Count
    last: Count
    tokens: Count
    without_text: NotRequired[Count]
    held_rows: NotRequired[Count]
    held_tokens: NotRequired[Count]


class DrawnRowsForm(TypedDict):
    """What is drawn of every pool, and the number of rows that are held out."""

    draws: dict[str, DrawForm]
    held_rows: NotRequired[Count]


class KeptRowsForm(TypedDict, total=False):
    """The data files of kept rows, by their names in the folder of data files."""

    files: Required[list[PathText]]


class DemoTextForm(TypedDict):
    """The bytes of text that the demo copied, by source."""

    bytes: dict[str, Count]


class TrainingSetForm(TypedDict, total=False):
    """The record of a training set, index.json."""

    shards: Required[object]


class DescriptionForm(TypedDict, total=False):
    """The content of a description."""

    rows: Required[Count]


class EntryForm(TypedDict, total=False):
    """The record of one shard in one step."""

    step: Required[str]
    shard: Required[str]
    input: Required[str]
    size: Required[Count]
    stamp: Required[str]
    config: Required[str]
    version: str
    rows: Required[Count | None]
    format: int
    columns: list[str]
    spans: list[list[Count | None]]


class SetAsideForm(TypedDict, total=False):
    """Why a shard was set aside."""

    step: Required[str]
    shard: Required[str]
    reason: Required[str]
    stamp: Required[str]


class PilotForm(TypedDict):
    """A finished small run: a hash of what was trained, and its losses."""

    spec: Filled
    losses: dict[str, Number | None]
