"""Forms of the files in the folder of a sentence-transformers model, which others write."""

from typing import Annotated, NotRequired, TypedDict

from msgspec import Meta

from curate.storage.forms.numbers import Filled

Tokens = Annotated[int, Meta(gt=0, le=2**31)]


class ModelForm(TypedDict):
    """The content of config.json."""

    hidden_size: Annotated[int, Meta(gt=0, le=2**20)]


class LayerForm(TypedDict):
    """One layer of modules.json."""

    type: Filled
    path: NotRequired[str]


class TransformerForm(TypedDict):
    """The content of sentence_bert_config.json."""

    max_seq_length: NotRequired[Tokens | None]
    do_lower_case: NotRequired[bool]


class PromptsForm(TypedDict):
    """The content of config_sentence_transformers.json."""

    prompts: NotRequired[dict[str, str | None] | None]
    default_prompt_name: NotRequired[str | None]
