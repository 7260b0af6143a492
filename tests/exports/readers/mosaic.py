"""Reads the streams against the arguments of streaming.Stream (mosaicml-streaming 0.13.0)."""

from exports.export_samples import yaml_of

VARIANTS = ("mosaic", "mosaic:seq_len=512")
WITHIN = {"mosaic:seq_len=512": 512 / 10**10}  # whole samples of 10^10 tokens


def read(text, variant):
    streams = yaml_of(text)["train_loader"]["dataset"]["streams"]
    weight = {key for stream in streams.values() for key in stream} & {"proportion", "repeat", "choose"}
    assert len(weight) == 1, "exactly one kind of weight in all streams"
    key = weight.pop()
    assert all(set(stream) in ({"local", key}, {"remote", "local", key}) for stream in streams.values())
    total = sum(stream[key] for stream in streams.values()) if key == "choose" else 1
    return [(name, s[key] / total, s.get("remote", s["local"])) for name, s in streams.items()]
