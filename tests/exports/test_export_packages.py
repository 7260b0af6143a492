"""Exports read by the trainers' own packages, each where it is installed (datasets comes with the tests extra).

The others want versions that conflict with each other's and ours; give each an environment of its own:
megatron-core, nemo-automodel, mosaicml-streaming, ai2-olmo-core, torchtitan, marin-levanter.
"""

import importlib.util
import json
from collections import Counter, defaultdict

import numpy as np
import polars as pl
import pytest

from curate import open_sets
from curate.pool.mixture import Mixture, Part, locate
from curate.pool.pool import Pool

pytestmark = pytest.mark.filterwarnings("default")  # what other packages warn of is not ours
WORDS = {"web": (5000, 40), "co-de ü": (40, 100), 'q"': (600, 25)}  # documents of a pool, words each
COUNTS = {"web": 60_000, "co-de ü": 10_000, 'q"': 10_000}  # planned: .3, 2.5 and .667 passes


def package(name):
    module = pytest.importorskip(name, exc_type=ImportError)
    if module.__file__ is None:  # a folder of tests has this name, and the package is not installed
        pytest.skip(f"{name} is not installed")
    return module


def written(spec, folder, pattern=None):
    """The planned mixture exported to a file of ``folder``."""
    export = open_sets.build("exports", spec)
    pools = {name: Pool(name, rows * words, rows) for name, (rows, words) in WORDS.items()}
    parts = tuple(Part(pools[name], count) for name, count in COUNTS.items())
    mixture = locate(Mixture(parts, ("none",), 1e6, "a test", seed=3), {}, str(folder / (pattern or export.usual)))
    path = folder / f"mixture{export.suffix}"
    path.write_text(export.render(mixture), encoding="utf-8")
    return path


def imported(path):
    spec = importlib.util.spec_from_file_location("mixture_under_test", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def texts(tmp_path, monkeypatch):
    """Parquet files of numbered documents, one folder a pool; nothing is asked of a network."""
    for name, value in {"HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}.items():
        monkeypatch.setenv(name, value)
    for name, (rows, words) in WORDS.items():
        (tmp_path / "data" / name).mkdir(parents=True)
        frame = pl.DataFrame({"text": [f"{name}|{i}|" + " x" * words for i in range(rows)]})
        frame.write_parquet(tmp_path / "data" / name / "0.parquet")
    return tmp_path


def test_datasets_draws_the_planned_tokens(texts):
    """Counts of examples are multinomial: five standard deviations."""
    package("datasets")
    module = imported(written("hf", texts))
    tokens, seen = Counter(), defaultdict(Counter)
    for row in module.load():
        name, number, words = row["text"].split("|")
        tokens[name] += len(words.split())
        seen[name][number] += 1
    assert sum(sum(rows.values()) for rows in seen.values()) == module.EXAMPLES == 1500 + 100 + 400
    for name, count in COUNTS.items():
        drawn = count / WORDS[name][1]
        assert abs(tokens[name] - count) < 5 * np.sqrt(drawn) * WORDS[name][1], name
    assert max(seen["web"].values()) == 1, "a pool that is not used up is not repeated"
    assert set(seen["co-de ü"].values()) <= {2, 3}, "a repeated pool is repeated evenly"
    again = [row["text"] for row in imported(written("hf", texts)).load()]
    assert again == [row["text"] for row in module.load()]


def test_megatron_reads_both_forms(tmp_path):
    blend = package("megatron.core.datasets.utils").get_blend_from_list
    same = str(tmp_path / "x")
    text = written("megatron", tmp_path, "x").read_text(encoding="utf-8")
    assert blend(text.split()) == ([same] * 3, [0.75, 0.125, 0.125])
    record = json.loads(written("megatron:per_split=true", tmp_path).read_text(encoding="utf-8"))
    assert [blend(record[split]) for split in ("valid", "test")] == [None, None]
    assert blend(record["train"])[1] == [0.75, 0.125, 0.125]


def test_nemo_reads_the_paths(tmp_path):
    module = package("nemo_automodel.components.datasets.llm.megatron_dataset")
    section = package("yaml").safe_load(written("nemo", tmp_path).read_text(encoding="utf-8"))["dataset"]
    assert section.pop("_target_").endswith("megatron_dataset.MegatronPretraining")
    config = module.MegatronPretrainingConfig(**section)
    assert module.is_zipped_list(config.paths)
    assert module.get_blend_from_list(config.paths)[1] == [0.75, 0.125, 0.125]


def test_streaming_draws_exactly_the_planned_samples(tmp_path):
    streaming = package("streaming")
    path = written("mosaic:seq_len=100", tmp_path)
    streams = package("yaml").safe_load(path.read_text(encoding="utf-8"))["train_loader"]["dataset"]["streams"]
    for name, stream in streams.items():
        with streaming.MDSWriter(out=stream["local"], columns={"pool": "str", "i": "int"}) as writer:
            for i in range(int(WORDS[name][0] * WORDS[name][1] / 100)):
                writer.write({"pool": name, "i": i})
    stream_objects = [streaming.Stream(**stream) for stream in streams.values()]
    seen = defaultdict(Counter)
    for row in streaming.StreamingDataset(streams=stream_objects, batch_size=4, shuffle=True, shuffle_seed=3):
        seen[row["pool"]][row["i"]] += 1
    assert {name: sum(rows.values()) for name, rows in seen.items()} == {n: c // 100 for n, c in COUNTS.items()}
    assert max(seen["web"].values()) == 1
    assert set(seen["co-de ü"].values()) == {2, 3}


def test_olmo_core_builds_the_mixture(tmp_path):
    module = package("olmo_core.data.source_mixture")
    sources = module.SourceMixtureList.from_yaml(str(written("olmo", tmp_path)))
    for name, (rows, words) in WORDS.items():
        (tmp_path / "data" / name).mkdir(parents=True)
        np.zeros(rows * words, np.uint16).tofile(tmp_path / "data" / name / "0.npy")
    config = module.SourceMixtureDatasetConfig(
        source_list=sources, requested_tokens=80_000, global_batch_size=1000, render_tables=False, quiet=True
    )
    built = config.build(npdtype=np.uint16, sequence_length=50)
    taken = {source.name: sum(p.tokens for p in source.path_tokens) for source in built.sources}
    assert sum(taken.values()) == 80_000
    assert all(abs(taken[name] - count) <= 150 for name, count in COUNTS.items()), "one sequence a pass"


def test_torchtitan_draws_the_planned_tokens(texts):
    package("torchtitan.hf_datasets.text_datasets")
    module = imported(written("torchtitan", texts))

    class Tokenizer:
        """The first letter of a document for each of its words."""

        def encode(self, text, add_bos, add_eos):
            return [ord(text[0])] * len(text.split())

    loader = module.InterleavedHuggingFaceTextDataLoader(
        module.dataloader(), dp_world_size=1, dp_rank=0, tokenizer=Tokenizer(), seq_len=10, local_batch_size=10
    )
    drawn = Counter()
    for _, (inputs, _) in zip(range(100), loader, strict=False):
        drawn.update(inputs["input"][:, 0].tolist())
    assert sum(drawn.values()) == 1000
    for name, count in COUNTS.items():
        share = count / 80_000
        assert abs(drawn[ord(name[0])] / 1000 - share) < 5 * np.sqrt(share * (1 - share) / 1000)


@pytest.mark.parametrize("pattern", ["data/{pool}", "data/{pool}/*.jsonl.zst"])
def test_levanter_decodes_the_section_and_draws_the_shares(tmp_path, pattern):
    config = package("levanter.data.text").LmDataConfig
    section = package("yaml").safe_load(written("levanter", tmp_path, pattern).read_text(encoding="utf-8"))["data"]
    data = package("draccus").decode(config, section)
    assert list(data.components) == list(COUNTS)
    mixing, sets = package("levanter.data.mixture"), package("levanter.data").ListAsyncDataset
    mixed = mixing.MixtureDataset(
        {name: sets([0]) for name in COUNTS},
        data.train_weights,
        data.mixture_block_size,
        key=0,
        stop_strategy=data.stop_strategy,
    )
    drawn = mixed._counts_per_block_per_stage[0]
    assert dict(zip(mixed.dataset_index, drawn / drawn.sum(), strict=True)) == {
        name: count / 80_000 for name, count in COUNTS.items()
    }
