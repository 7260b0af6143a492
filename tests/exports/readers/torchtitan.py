"""Reads the Python module for torchtitan as literals."""

from exports.export_samples import assigned, located

VARIANTS = ("torchtitan",)


def read(text, variant):
    values = assigned(text)
    assert list(values) == ["SEED", "TOKENS", "POOLS"]
    assert sum(row["tokens"] for row in values["POOLS"]) == values["TOKENS"]
    return [(row["pool"], row["share"], located(row)) for row in values["POOLS"]]
