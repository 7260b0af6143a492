"""Reads the Python module for Hugging Face datasets as literals."""

import pytest
from exports.export_samples import assigned, located

VARIANTS = ("hf", "hf:seq_len=512")
WITHIN = {"hf": None}  # probabilities are of examples and not of tokens, unless all rows have one length


def read(text, variant):
    values = assigned(text)
    assert list(values) == ["SEED", "TOKENS", "EXAMPLES", "POOLS"]
    assert sum(row["tokens"] for row in values["POOLS"]) == values["TOKENS"]
    assert sum(row["share"] for row in values["POOLS"]) == pytest.approx(1, abs=1e-12)
    return [(row["pool"], row["probability"], located(row)) for row in values["POOLS"]]
