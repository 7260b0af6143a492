"""Reads both forms as get_blend_and_blend_per_split of Megatron-LM does."""

import json

from exports.export_samples import blended

VARIANTS = ("megatron", "megatron:per_split=true")


def read(text, variant):
    if variant == "megatron":
        assert not any(line.startswith("#") for line in text.splitlines()), "Megatron would read a comment as a path"
        return blended(text.split())
    record = json.loads(text)
    assert record["valid"] is None
    assert record["test"] is None
    return blended(record["train"])


def provenance(text, variant):
    """The text form has none; of the JSON form Megatron does not read the key."""
    if variant == "megatron":
        return None
    note = json.loads(text)["curate"]
    return note["plan"], note["tokens"], note["left_out"]


def holds(variant, path):
    """Whether the format can hold a path."""
    return variant != "megatron" or path.split() == [path]
