"""torchtitan: a Python module that registers the pools and makes the config of its interleaved data loader.

torchtitan (0.3.0) is configured in Python: a function of a ``config_registry`` sets
``config.dataloader = dataloader()`` with this module's function. ``HFDataSource(dataset, weight, infinite)`` names an
entry of ``torchtitan.hf_datasets.text_datasets.DATASETS`` in lower case; weights are normalised and count packed
samples of one length, which makes them shares of tokens; an infinite source starts again when it runs out, so that
passes follow from ``training.steps``.
"""

from dataclasses import dataclass

from curate.errors import SchemaError
from curate.exports import _text
from curate.exports.hf import BUILDERS, source
from curate.pool.mixture import Mixture

HEAD = """from functools import partial

from datasets import load_dataset
from torchtitan.hf_datasets import DatasetConfig
from torchtitan.hf_datasets.text_datasets import DATASETS, HFDataSource, InterleavedHuggingFaceTextDataLoader

"""
BODY = '''

def _load(path, data_files):
    return load_dataset(path, data_files=data_files, split="train", streaming=True)


def _text(sample):
    return sample["text"]


for pool in POOLS:
    DATASETS[pool["pool"].lower()] = DatasetConfig(
        path=pool["path"], loader=partial(_load, data_files=pool["data_files"]), sample_processor=_text
    )


def dataloader():
    """Return the config of a loader that draws the planned shares of training tokens."""
    sources = [HFDataSource(dataset=pool["pool"].lower(), weight=pool["share"], infinite=True) for pool in POOLS]
    return InterleavedHuggingFaceTextDataLoader.Config(sources=sources, seed=SEED)
'''


@dataclass(frozen=True)
class Torchtitan:
    """One source for every pool."""

    suffix = ".py"
    usual = "data/{pool}/*.parquet"
    reads = tuple(BUILDERS)

    def render(self, mixture: Mixture) -> str:
        """Return the text of the module.

        Raises:
            SchemaError: two names that differ only in case, which torchtitan ignores.
        """
        rows: list[str] = []
        seen: dict[str, str] = {}
        for part, share in zip(mixture.parts, mixture.shares, strict=True):
            name = part.pool.name
            if (other := seen.setdefault(name.lower(), name)) != name:
                raise SchemaError(
                    f"pools {other!r} and {name!r} differ only in case, which torchtitan ignores: rename one"
                )
            row = {"pool": name} | source(name, part.paths)
            row |= {"share": share, "tokens": part.tokens, "epochs": part.epochs}
            rows.append(f"    {row!r},\n")
        note = f"training.steps = {mixture.tokens} / (global batch size * sequence length)"
        tables = f"SEED = {mixture.seed}\nTOKENS = {mixture.tokens}\nPOOLS = [\n"
        return "".join([_text.header(mixture, note), HEAD, tables, *rows, "]\n", BODY])
