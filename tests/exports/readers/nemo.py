"""Reads the list of weights and prefixes in the place where each layout of NeMo has it."""

from exports.export_samples import blended, yaml_of

VARIANTS = ("nemo", "nemo:layout=nemo1", "nemo:layout=nemo2")


def read(text, variant):
    record = yaml_of(text)
    if "model" in record:
        return blended(record["model"]["data"]["data_prefix"])
    section = record.get("dataset") or record["data"]
    assert set(section) == {"_target_", "seed", "paths"}
    return blended(section["paths"])
