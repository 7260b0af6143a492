"""Reads the source list against SourceMixtureConfig and SourceMixtureList (ai2-olmo-core 3.0.0)."""

from exports.export_samples import yaml_of

VARIANTS = ("olmo",)


def read(text, variant):
    record = yaml_of(text)
    assert list(record) == ["sources"]
    for source in record["sources"]:
        assert set(source) == {"source_name", "target_ratio", "paths", "max_repetition_ratio"}
        assert 0 < source["target_ratio"] <= 1
        assert source["max_repetition_ratio"] >= 1
        assert source["paths"]
    return [(s["source_name"], s["target_ratio"], s["paths"][0]) for s in record["sources"]]
