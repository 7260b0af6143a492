"""What every export promises, checked for every file of ``curate/exports`` with a reader of its own format."""

import ast
import json
import re
from dataclasses import FrozenInstanceError, replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate import open_sets
from curate.errors import SchemaError
from curate.pool.mixture import Mixture, Part
from curate.pool.pool import Pool

SPECS = (
    "hf", "hf:seq_len=512", "levanter", "levanter:key=configs", "megatron", "megatron:per_split=true", "mosaic",
    "mosaic:seq_len=512", "nemo", "nemo:layout=nemo1", "nemo:layout=nemo2", "olmo", "torchtitan",
)  # fmt: skip
EVERY = pytest.mark.parametrize("spec", SPECS)
LINE = re.compile(r'^#   (\d+) \S+ (".*?(?<!\\)(?:\\\\)*")', re.MULTILINE)
ODD = [
    'a "quoted" one',
    "it's = {odd}: #",
    "two\nlines",
    "ü𝄞 \u2028\x85\x7f\ufeff",
    "- &a !!python/object *b",
    "null",
    "1e-05",
    "\\",
]


def export(spec):
    return open_sets.build("exports", spec)


def mixture(tokens, names=None, paths=None, left_out=()):
    """Parts with those ``tokens`` (a list of counts)."""
    names = names or [f"p{i}" for i in range(len(tokens))]
    paths = paths or [(f"data/{i}",) for i in range(len(tokens))]
    parts = tuple(
        Part(Pool(name, 1e9 * (1 + i), 10**6), count, where)
        for i, (name, count, where) in enumerate(zip(names, tokens, paths, strict=True))
    )
    return Mixture(parts, tuple(left_out), 1e9, "plan 0 of plan.json: a test", seed=7)


PLAIN = mixture([7_000_000_001, 2_000_000_000, 999_999_999], left_out=["zero", "none"])


def yaml_of(text):
    return pytest.importorskip("yaml", reason="install the dev extra").safe_load(text)


def blended(items):
    assert len(items) % 2 == 0
    return [(None, float(w), p) for w, p in zip(items[::2], items[1::2], strict=True)]


def assigned(text):
    """Literals that a module assigns; nothing is run."""
    body = ast.parse(text).body
    return {n.targets[0].id: ast.literal_eval(n.value) for n in body if isinstance(n, ast.Assign)}


def read_hf(text):
    found = assigned(text)
    assert list(found) == ["SEED", "TOKENS", "EXAMPLES", "POOLS"]
    assert sum(row["tokens"] for row in found["POOLS"]) == found["TOKENS"]
    assert sum(row["share"] for row in found["POOLS"]) == pytest.approx(1, abs=1e-12)
    return [(row["pool"], row["probability"], located(row)) for row in found["POOLS"]]


def read_torchtitan(text):
    found = assigned(text)
    assert list(found) == ["SEED", "TOKENS", "POOLS"]
    assert sum(row["tokens"] for row in found["POOLS"]) == found["TOKENS"]
    return [(row["pool"], row["share"], located(row)) for row in found["POOLS"]]


def located(row):
    return row["path"] if row["data_files"] is None else row["data_files"][0]


def read_megatron(text):
    """As get_blend_and_blend_per_split of Megatron-LM reads it."""
    return blended(text.split())


def read_per_split(text):
    record = json.loads(text)
    assert record["valid"] is None
    assert record["test"] is None
    return blended(record["train"])


def read_nemo(text):
    record = yaml_of(text)
    if "model" in record:
        return blended(record["model"]["data"]["data_prefix"])
    section = record.get("dataset") or record["data"]
    assert set(section) == {"_target_", "seed", "paths"}
    return blended(section["paths"])


def read_olmo(text):
    """Against the fields and checks of SourceMixtureConfig and SourceMixtureList (ai2-olmo-core 3.0.0)."""
    record = yaml_of(text)
    assert list(record) == ["sources"]
    for source in record["sources"]:
        assert set(source) == {"source_name", "target_ratio", "paths", "max_repetition_ratio"}
        assert 0 < source["target_ratio"] <= 1
        assert source["max_repetition_ratio"] >= 1
        assert source["paths"]
    return [(s["source_name"], s["target_ratio"], s["paths"][0]) for s in record["sources"]]


def read_mosaic(text):
    """Against the arguments of streaming.Stream (mosaicml-streaming 0.13.0)."""
    streams = yaml_of(text)["train_loader"]["dataset"]["streams"]
    weight = {key for stream in streams.values() for key in stream} & {"proportion", "repeat", "choose"}
    assert len(weight) == 1, "exactly one kind of weight in all streams"
    key = weight.pop()
    assert all(set(stream) in ({"local", key}, {"remote", "local", key}) for stream in streams.values())
    total = sum(stream[key] for stream in streams.values()) if key == "choose" else 1
    return [(name, s[key] / total, s.get("remote", s["local"])) for name, s in streams.items()]


def read_levanter(text):
    """Against LmDataConfig (marin-levanter 0.2.20) and LMMixtureDatasetConfig (levanter 1.2)."""
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


READERS = {
    "hf": read_hf, "levanter": read_levanter, "megatron": read_megatron, "megatron:per_split=true": read_per_split,
    "mosaic": read_mosaic, "nemo": read_nemo, "olmo": read_olmo, "torchtitan": read_torchtitan,
}  # fmt: skip


def read(spec, text):
    """(name or None, weight, path) of every pool in the file."""
    return (READERS.get(spec) or READERS[spec.partition(":")[0]])(text)


def test_every_file_is_tested_here():
    assert {spec.partition(":")[0] for spec in SPECS} == set(open_sets.names("exports"))


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(open_sets.CurateError, match="unknown export 'nosuch'. Choose one of hf, levanter"):
        export("nosuch")


@EVERY
def test_it_is_frozen_and_says_what_it_writes_and_reads(spec):
    made = export(spec)
    assert re.fullmatch(r"\.(txt|json|yaml|py)", made.suffix)
    assert made.usual.count("{pool}") == 1
    assert all(ending.startswith(".") for ending in made.reads)
    with pytest.raises(FrozenInstanceError):
        made.suffix = ".x"
    with pytest.raises(open_sets.CurateError, match="has no option 'nosuch'"):
        export(f"{spec.partition(':')[0]}:nosuch=1")


@EVERY
def test_weights_are_the_shares_and_sum_to_one(spec):
    found = read(spec, export(spec).render(PLAIN))
    assert abs(sum(Fraction(weight) for _, weight, _ in found) - 1) < 1e-12
    if spec != "hf":  # of examples there, see below
        slack = 512 / PLAIN.tokens if spec == "mosaic:seq_len=512" else 1e-15
        assert [weight for _, weight, _ in found] == pytest.approx(PLAIN.shares, abs=slack)
    assert [path for _, _, path in found] == [part.paths[0] for part in PLAIN.parts]
    assert [name for name, _, _ in found] in ([None] * 3, ["p0", "p1", "p2"])


@EVERY
def test_tokens_of_the_pools_add_up_exactly(spec):
    text = export(spec).render(PLAIN)
    if spec == "megatron":
        assert "#" not in text, "Megatron would read a comment as a path"
        return
    if spec == "megatron:per_split=true":
        written = json.loads(text)["curate"]["tokens"]
    else:
        written = {json.loads(name): int(count) for count, name in LINE.findall(text)}
    assert written == {part.pool.name: part.tokens for part in PLAIN.parts}
    assert sum(written.values()) == PLAIN.tokens == 10**10


@EVERY
def test_pools_without_tokens_are_only_mentioned(spec):
    text = export(spec).render(PLAIN)
    data = "\n".join(line for line in text.splitlines() if not line.startswith("#") and '"curate"' not in line)
    if spec == "megatron:per_split=true":
        data = json.dumps(json.loads(text)["train"])
    assert "zero" not in data
    assert len(read(spec, text)) == 3
    assert spec == "megatron" or '"zero"' in text


@EVERY
def test_the_same_mixture_gives_the_same_text(spec):
    assert export(spec).render(PLAIN) == export(spec).render(replace(PLAIN))


@EVERY
def test_one_pool_is_a_mixture(spec):
    found = read(spec, export(spec).render(mixture([1000])))
    assert [weight for _, weight, _ in found] == [1.0]


@EVERY
def test_small_shares_stay_numbers(spec):
    """1e-05 is a string in YAML 1.1."""
    found = read(spec, export(spec).render(mixture([10**10 - 400_000, 400_000])))
    assert isinstance(found[1][1], float)
    if spec != "hf":
        assert found[1][1] == pytest.approx(4e-5, rel=2e-3)


def check_names(spec, names):
    """Any names and paths come back as they were; nothing of them is read as structure."""
    counts = [10**9 + i for i in range(len(names))]
    paths = [(f"data/{i}/{name.strip() or 'x'}.",) for i, name in enumerate(names)]
    if spec == "megatron":
        paths = [("".join(path.split()),) for (path,) in paths]
    odd = mixture(counts, names, paths, left_out=["left\nout: [", *names[:1]])
    text = export(spec).render(odd)
    found = read(spec, text)
    assert [path for _, _, path in found] == [path for (path,) in paths]
    assert [name for name, _, _ in found] in ([None] * len(names), names)
    assert abs(sum(Fraction(weight) for _, weight, _ in found) - 1) < 1e-12
    text.encode()


@EVERY
def test_odd_names_and_paths_come_back(spec):
    check_names(spec, ODD)


@EVERY
@given(names=st.lists(st.text(max_size=20), min_size=1, max_size=5, unique_by=str.lower))
def test_any_names_and_paths_come_back(spec, names):
    check_names(spec, names)


@EVERY
def test_surrogates_do_not_break_the_file(spec):
    """JSON can hold them ("\\ud800"), UTF-8 cannot; Megatron's text form has no escapes, and no names."""
    text = export(spec).render(mixture([5000], ["\ud800x"], [("data/x",)]))
    assert read(spec, text)[0][0] in (None, "\ud800x")
    text.encode()


@pytest.mark.parametrize("spec", ["megatron", "nemo", "mosaic"])
def test_several_paths_are_refused_where_a_pool_has_one(spec):
    with pytest.raises(SchemaError, match="'p0' has"):
        export(spec).render(mixture([1000], paths=[("a", "b")]))


@pytest.mark.parametrize("spec", ["olmo", "hf", "torchtitan", "levanter", "levanter:key=configs"])
def test_several_files_are_one_pool(spec):
    files = ("a/0.jsonl.zst", "a/1.jsonl.zst")
    text = export(spec).render(mixture([1000], paths=[files]))
    assert all(text.count(file) == 1 for file in files)
    assert read(spec, text)[0][2] == files[0]


@pytest.mark.parametrize("spec", ["hf", "torchtitan", "levanter"])
def test_files_of_different_kinds_are_refused(spec):
    with pytest.raises(SchemaError, match="'p0'"):
        export(spec).render(mixture([1000], paths=[("a.parquet", "b.npy")]))
    if spec != "levanter":
        with pytest.raises(SchemaError, match="one kind"):
            export(spec).render(mixture([1000], paths=[("a.parquet", "b.jsonl")]))


@pytest.mark.parametrize(
    ("spec", "path", "said"),
    [("megatron", "a b", "per_split=true"), ("megatron", "a\u2028b", "white space"), ("megatron", " a", "strips"),
     ("megatron:per_split=true", "a ", "strips"), ("nemo", "\ta", "strips")],
)  # fmt: skip
def test_paths_that_megatron_would_change_are_refused(spec, path, said):
    with pytest.raises(SchemaError, match=said):
        export(spec).render(mixture([1000], paths=[(path,)]))
    assert read("megatron:per_split=true", export("megatron:per_split=true").render(mixture([9], paths=[("a b",)])))


def test_probabilities_of_datasets_are_of_examples():
    """Half of the tokens each, but one pool's documents are four times as long: it is one draw in five."""
    parts = (Part(Pool("long", 4e6, 1000), 10**6, ("a",)), Part(Pool("short", 1e6, 1000), 10**6, ("b",)))
    both = Mixture(parts, (), 1e6, "a test")
    assert [weight for _, weight, _ in read_hf(export("hf").render(both))] == pytest.approx([0.2, 0.8])
    assert assigned(export("hf").render(both))["EXAMPLES"] == 1250
    packed = export("hf:seq_len=500").render(both)
    assert [weight for _, weight, _ in read_hf(packed)] == [0.5, 0.5]
    assert assigned(packed)["EXAMPLES"] == 4000
    with pytest.raises(SchemaError, match="'a' has no count of examples.*hf:seq_len=N"):
        export("hf").render(Mixture((Part(Pool("a", 1e6, 0), 10, ("a",)),), (), 1e6, "a test"))


@given(st.lists(st.integers(1, 10**7), min_size=1, max_size=8))
def test_chosen_samples_add_up(counts):
    total = sum(counts) // 512
    spec, made = "mosaic:seq_len=512", mixture(counts)
    try:
        text = export(spec).render(made)
    except SchemaError as error:
        assert "under one sample of 512" in str(error)
        return
    chosen = [s["choose"] for s in yaml_of(text)["train_loader"]["dataset"]["streams"].values()]
    assert sum(chosen) == total
    assert all(abs(n - total * share) < 1 for n, share in zip(chosen, made.shares, strict=True))


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
