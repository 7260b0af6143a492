"""Reads the data section against LmDataConfig (marin-levanter 0.2.20) and LMMixtureDatasetConfig (levanter 1.2)."""

from exports.export_samples import yaml_of

VARIANTS = ("levanter", "levanter:key=configs")


def read(text, variant):
    record = yaml_of(text)
    assert list(record) == ["data"]
    data = record["data"]
    kind = next(iter(data))
    assert list(data) == [kind, "train_weights", "stop_strategy", "mixture_block_size"]
    assert data["mixture_block_size"] < 2**16
    assert list(data[kind]) == list(data["train_weights"])
    places = {}
    for name, component in data[kind].items():
        source = component.get("source", component)
        assert set(component) in ({"cache_dir"}, {"train_urls"}, {"source"})
        assert "type" not in source or source["type"] == "url"
        places[name] = component.get("cache_dir") or source["train_urls"][0]
    return [(name, weight, places[name]) for name, weight in data["train_weights"].items()]
