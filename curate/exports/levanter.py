"""Levanter: the ``data`` section of a training config, with ``train_weights``.

Schema of ``levanter.data.text.LmDataConfig`` (marin-levanter 0.2.20, 2026): ``components`` by name, each with a
``source`` (text files, tokenised at the first run) or the ``cache_dir`` of a cache that exists. ``key=configs`` writes
the older ``LMMixtureDatasetConfig`` (levanter 1.2), where a component is its source. ``stop_strategy: restart``, the
default of both, repeats a pool as often as its weight asks; ``experiment_budget`` and ``target_budget`` shrink pools
to rehearse a larger run, which a plan for its own budget does not want.

A mixture block holds floor(weight * mixture_block_size) sequences of a pool, and the remaining ones go to the largest
pool (``MixtureDataset``). At the default of 2,048 a pool under .0005 is never drawn. 32,768, the largest power of two
that Levanter takes, keeps every share within 3.1e-5; a smaller pool is an error here.
"""

from dataclasses import dataclass

from curate.errors import SchemaError
from curate.exports import _text
from curate.pool.mixture import Mixture, Part

BLOCK = 2**15  # sequences; see the module: the largest block keeps the smallest shares


@dataclass(frozen=True)
class Levanter:
    """Writes one component for every pool.

    Options:
        key: name of the section with the pools: components, or configs for levanter up to 1.2 (default components).
    """

    key: str = "components"
    suffix = ".yaml"
    usual = "data/{pool}"
    # Levanter knows a file by its ending. It has no reader of CSV, and does not know .ndjson.
    reads = (".parquet", ".json", ".json.gz", ".json.zst", ".jsonl", ".jsonl.gz", ".jsonl.zst")

    def __post_init__(self) -> None:
        """Check that the key is known."""
        if self.key not in ("components", "configs"):
            raise SchemaError(f"levanter has no key {self.key!r}: choose one of components, configs")

    def render(self, mixture: Mixture) -> str:
        """Return the section as YAML.

        Raises:
            SchemaError: paths that are neither text files nor one cache, or a share that Levanter would round to 0.
        """
        rows, weights = [], []
        for part, share in zip(mixture.parts, mixture.shares, strict=True):
            if share * BLOCK < 1:
                raise SchemaError(
                    f"pool {part.pool.name!r} has the share {share:.3g}, under one sequence in a mixture block of "
                    f"{BLOCK}, and Levanter would never draw it: leave such pools out with --min-share {1 / BLOCK:.2g}"
                )
            rows.append(f"    {_text.quoted(part.pool.name)}: {_text.flow(self._component(part))}\n")
            weights.append(f"    {_text.quoted(part.pool.name)}: {_text.decimal(share)}\n")
        # restart repeats a pool that runs out, as the plan wants.
        rest = f"  stop_strategy: restart\n  mixture_block_size: {BLOCK}\n"
        note = f"trainer.num_train_steps = {mixture.tokens} / (train_batch_size * sequence length)"
        body = ["data:\n", f"  {self.key}:\n", *rows, "  train_weights:\n", *weights, rest]
        return _text.header(mixture, note) + "".join(body)

    def _component(self, part: Part) -> dict[str, object]:
        if all(path.endswith(self.reads) for path in part.paths):
            urls = list(part.paths)
            return {"train_urls": urls} if self.key == "configs" else {"source": {"type": "url", "train_urls": urls}}
        if len(part.paths) > 1:
            raise SchemaError(
                f"pool {part.pool.name!r} has {len(part.paths)} paths that are not all text files "
                f"({', '.join(self.reads)}): give those, or one cache folder"
            )
        return {"cache_dir": part.paths[0]}
