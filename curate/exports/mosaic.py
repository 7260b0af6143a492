"""MosaicML Streaming: ``train_loader.dataset.streams`` of an LLM Foundry config, or ``Stream(**stream)`` each.

Schema of ``streaming.Stream`` (mosaicml-streaming 0.13.0): ``remote`` and/or ``local``, and one of ``proportion``
(relative), ``repeat`` or ``choose`` (absolute) for all streams alike. ``proportion`` is a share of samples, which is
one of tokens where all samples have one length, as those of ``convert_dataset_hf.py --concat_tokens`` do. With it and
no ``epoch_size`` a pass of the dataset has as many samples as its files, and every pass draws its part of a large pool
anew. ``seq_len=N`` (tokens a sample) writes ``choose`` instead: one pass is then the planned training, in which every
sample of a pool is seen its planned passes, rounded down or up.
"""

from dataclasses import dataclass
from urllib.parse import quote

from curate.errors import SchemaError
from curate.exports import _text
from curate.pool.mixture import Mixture, Part
from curate.pool.rounding import apportion


@dataclass(frozen=True)
class Mosaic:
    """Writes one stream for every pool.

    Options:
        seq_len: tokens of a sample, from which exact counts of samples follow; 0 writes shares instead (default 0).
    """

    seq_len: int = 0
    suffix = ".yaml"
    usual = "data/{pool}"
    reads = ()

    def __post_init__(self) -> None:
        """Check that the length is a count of tokens."""
        if not (isinstance(self.seq_len, int) and self.seq_len >= 0):
            raise SchemaError(f"mosaic:seq_len={self.seq_len} must be a count of tokens, for example 2048")

    def render(self, mixture: Mixture) -> str:
        """Return the section as YAML.

        Raises:
            SchemaError: a pool with several paths, or with less than one sample.
        """
        weights: list[int] | tuple[float, ...] = mixture.shares
        if self.seq_len:
            # Whole samples of all pools together, so that the last incomplete one is lost only once.
            weights = apportion([part.tokens for part in mixture.parts], mixture.tokens // self.seq_len)
        lines = []
        for part, weight in zip(mixture.parts, weights, strict=True):
            if not weight:
                raise SchemaError(
                    f"pool {part.pool.name!r} has {part.tokens} tokens, under one sample of {self.seq_len}: leave such "
                    "pools out with --min-share, or leave seq_len out"
                )
            stream = _where(part) | {"choose" if self.seq_len else "proportion": weight}
            lines.append(f"      {_text.quoted(part.pool.name)}: {_text.flow(stream)}\n")
        note = "one pass is the whole training" if self.seq_len else f"max_duration: {mixture.tokens}tok"
        head = f"train_loader:\n  dataset:\n    shuffle_seed: {mixture.seed}\n    streams:\n"
        return _text.header(mixture, note) + head + "".join(lines)


def _where(part: Part) -> dict[str, object]:
    """Return ``local`` for a folder; for a URL ``remote``, and ``local`` for a cache of its own."""
    if len(part.paths) != 1:
        raise SchemaError(
            f"pool {part.pool.name!r} has {len(part.paths)} paths, but a stream has one: merge them "
            "(streaming.base.util.merge_index) and give one --path"
        )
    if "://" not in part.paths[0]:
        return {"local": part.paths[0]}
    name = quote(part.pool.name, safe="")
    # A name of dots alone would be the folder itself, or the one above it.
    cache = name if name.strip(".") else name.replace(".", "%2E")
    return {"remote": part.paths[0], "local": f"streaming-cache/{cache}"}
