"""What single exports promise beyond the contract: paths they refuse, counts of samples, room for other counts."""

import importlib

import numpy as np
import pytest
from exports.export_samples import assigned, export, mixture, yaml_of
from hypothesis import given
from hypothesis import strategies as st

from curate.errors import SchemaError
from curate.exports import _job as job
from curate.pool.mixture import Mixture, Part
from curate.pool.pool import Pool


def read(text, spec):
    """(name or None, weight, path) of every pool in the file, by the reader of the contract test."""
    return importlib.import_module(f"exports.readers.{spec.partition(':')[0]}").read(text, spec)


@pytest.mark.parametrize("spec", ["megatron", "nemo", "mosaic"])
def test_several_paths_are_refused_where_a_pool_has_one(spec):
    with pytest.raises(SchemaError, match="'p0' has"):
        export(spec).render(mixture([1000], paths=[("a", "b")]))


@pytest.mark.parametrize("spec", ["olmo", "hf", "torchtitan", "levanter", "levanter:key=configs"])
def test_several_files_are_one_pool(spec):
    files = ("a/0.jsonl.zst", "a/1.jsonl.zst")
    text = export(spec).render(mixture([1000], paths=[files]))
    assert all(text.count(file) == 1 for file in files)
    assert read(text, spec)[0][2] == files[0]


@pytest.mark.parametrize("spec", ["hf", "torchtitan", "levanter"])
def test_files_of_different_kinds_are_refused(spec):
    with pytest.raises(SchemaError, match="'p0'"):
        export(spec).render(mixture([1000], paths=[("a.parquet", "b.npy")]))
    if spec != "levanter":
        with pytest.raises(SchemaError, match="one kind"):
            export(spec).render(mixture([1000], paths=[("a.parquet", "b.jsonl")]))


@pytest.mark.parametrize(
    ("spec", "path", "message"),
    [
        ("megatron", "a b", "per_split=true"),
        ("megatron", "a\u2028b", "white space"),
        ("megatron", " a", "strips"),
        ("megatron:per_split=true", "a ", "strips"),
        ("nemo", "\ta", "strips"),
    ],
)
def test_paths_that_megatron_would_change_are_refused(spec, path, message):
    with pytest.raises(SchemaError, match=message):
        export(spec).render(mixture([1000], paths=[(path,)]))
    assert read(export("megatron:per_split=true").render(mixture([9], paths=[("a b",)])), "megatron:per_split=true")


def test_probabilities_of_datasets_are_of_examples():
    """Half of the tokens each, but one pool's documents are four times as long: it is one draw in five."""
    parts = (Part(Pool("long", 4e6, 1000), 10**6, ("a",)), Part(Pool("short", 1e6, 1000), 10**6, ("b",)))
    both = Mixture(parts, (), 1e6, "a test")
    assert [weight for _, weight, _ in read(export("hf").render(both), "hf")] == pytest.approx([0.2, 0.8])
    assert assigned(export("hf").render(both))["EXAMPLES"] == 1250
    packed = export("hf:seq_len=500").render(both)
    assert [weight for _, weight, _ in read(packed, "hf")] == [0.5, 0.5]
    assert assigned(packed)["EXAMPLES"] == 4000
    for uncounted in (Pool("a", 1e6), Pool("a", 1e6, 0)):
        with pytest.raises(SchemaError, match="'a' has no count of examples.*hf:seq_len=N"):
            export("hf").render(Mixture((Part(uncounted, 10, ("a",)),), (), 1e6, "a test"))
        assert read(export("hf:seq_len=5").render(Mixture((Part(uncounted, 10, ("a",)),), (), 1e6, "t")), "hf")
    # A dummy in the place of the real count would give wrong probabilities.
    for dummy in (Pool("a", 1e9, 1), Pool("a", 1e6, 10**9)):
        with pytest.raises(SchemaError, match="'a' has 1e.* tokens in .* examples, which cannot be.*hf:seq_len=N"):
            export("hf").render(Mixture((Part(dummy, 10, ("a",)),), (), 1e6, "a test"))


@given(st.lists(st.integers(1, 10**7), min_size=1, max_size=8))
def test_chosen_samples_add_up(counts):
    total = sum(counts) // 512
    spec, planned = "mosaic:seq_len=512", mixture(counts)
    try:
        text = export(spec).render(planned)
    except SchemaError as error:
        assert "under one sample of 512" in str(error)
        return
    chosen = [s["choose"] for s in yaml_of(text)["train_loader"]["dataset"]["streams"].values()]
    assert sum(chosen) == total
    assert all(abs(n - total * share) < 1 for n, share in zip(chosen, planned.shares, strict=True))


def test_a_remote_stream_has_a_cache_of_its_own():
    """Without ``local`` a second start of the same program fails on the folder of the first."""
    names, paths = ["a/b", "a%2Fb"], [("s3://x/1",), ("s3://x/2",)]
    streams = yaml_of(export("mosaic").render(mixture([5, 5], names, paths)))["train_loader"]["dataset"]["streams"]
    assert [s["remote"] for s in streams.values()] == ["s3://x/1", "s3://x/2"]
    assert len({s["local"] for s in streams.values()}) == 2


def test_repeats_that_olmo_allows_leave_room_for_another_count_of_tokens():
    for count in (1, 10**9, 2_500_000_000, 4 * 10**9):
        row = yaml_of(export("olmo").render(mixture([count])))["sources"][0]
        assert row["max_repetition_ratio"] == max(1, np.ceil(1.1 * count / 1e9))


def test_a_pool_that_levanter_would_never_draw_is_refused():
    with pytest.raises(SchemaError, match="'p1' has the share 1e-07.*--min-share 3.1e-05"):
        export("levanter").render(mixture([10**10, 1000]))


def test_names_that_differ_only_in_case_are_refused_by_torchtitan():
    with pytest.raises(SchemaError, match="pools 'Web' and 'web' differ only in case"):
        export("torchtitan").render(mixture([5, 5], ["Web", "web"]))


@pytest.mark.parametrize(
    "spec", ["mosaic:seq_len=-1", "mosaic:seq_len=x", "hf:seq_len=1.5", "nemo:layout=x", "levanter:key=x"]
)
def test_senseless_options_are_refused(spec):
    with pytest.raises(SchemaError):
        export(spec)


@pytest.mark.parametrize(
    ("spec", "path", "builder"),
    [
        ("hf", "a/x.ndjson", "json"),
        ("hf", "a/x.json.gz", "json"),
        ("hf", "a/x.csv", "csv"),
        ("torchtitan", "a/x.ndjson.zst", "json"),
        ("levanter", "a/x.json.gz", "url"),
    ],
)
def test_every_kind_of_input_that_a_trainer_reads_is_named_as_a_file(spec, path, builder):
    text = export(spec).render(mixture([1000], paths=[(path,)]))
    assert builder in text
    assert read(text, spec)[0][2] == path


@pytest.mark.parametrize(
    ("spec", "path"), [("levanter", "x.ndjson"), ("levanter", "x.csv.gz"), ("hf", "x.tsv"), ("olmo", "x.jsonl")]
)
def test_a_kind_that_a_trainer_does_not_read_is_one_line(spec, path):
    pool = Pool("web", 1000, 10, where=(path,))
    plan = {"plans": [{"budget": {"tokens": 100, "params": 10}, "weights": {"web": 1.0}}], "format": 1}
    with pytest.raises(SchemaError, match=f"pool 'web' lies at {path}, and {spec} reads only .*Convert its files"):
        job.export(plan, spec, pools=[pool], paths={"web": path})
    noted = job.export(plan, spec, pools=[pool]).notes
    assert any(f"{spec} does not read {path.removeprefix('x')}" in note for note in noted)
