"""OLMo-core source mixture: ``SourceMixtureList.from_yaml(FILE)``, for ``SourceMixtureDatasetConfig``.

Schema of ``olmo_core.data.source_mixture`` (ai2-olmo-core 3.0.0): ``sources`` of ``source_name``, ``target_ratio`` in
(0, 1], ``paths`` (files or globs of token ids), ``max_repetition_ratio`` >= 1 and ``max_source_fraction``; the ratios
must sum to 1. ``requested_tokens``, ``global_batch_size`` and ``seed`` are arguments of SourceMixtureDatasetConfig and
stand in a comment. A build fails where target_ratio * requested_tokens is over the tokens that OLMo-core counts in the
files times max_repetition_ratio, which it uses for nothing else; it is the planned passes and a tenth more, rounded up,
because a plan at its ``--max-epochs`` would fail on the smallest difference between two counts of tokens.
"""

from dataclasses import dataclass
from math import ceil

from curate.exports import _text
from curate.pool.mixture import Mixture

ROOM = 1.1  # OLMo-core may count a tenth fewer tokens than the pool has


@dataclass(frozen=True)
class Olmo:
    """One source for every pool."""

    suffix = ".yaml"
    usual = "data/{pool}/*.npy"
    reads = (".npy",)

    def render(self, mixture: Mixture) -> str:
        """Return the source list as YAML."""
        lines = []
        for part, share in zip(mixture.parts, mixture.shares, strict=True):
            source = {
                "source_name": part.pool.name,
                "target_ratio": share,
                "paths": part.paths,
                "max_repetition_ratio": float(ceil(ROOM * part.epochs)),
            }
            lines.append(f"  - {_text.flow(source)}\n")
        note = (
            f"SourceMixtureDatasetConfig(source_list=..., requested_tokens={mixture.tokens}, seed={mixture.seed}, ...)"
        )
        return _text.header(mixture, note) + "sources:\n" + "".join(lines)
