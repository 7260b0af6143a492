"""Forms of the files in the folder of a sentence-transformers model, which others write."""

from typing import Annotated, TypedDict

from msgspec import Meta

from curate.storage.forms.numbers import Filled


class ModelForm(TypedDict):
    """The content of config.json."""

    hidden_size: Annotated[int, Meta(gt=0, le=2**20)]


class LayerForm(TypedDict):
    """One layer of modules.json."""

    type: Filled
