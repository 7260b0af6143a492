"""Megatron-LM data blend: ``--data-args-path FILE``, or ``--per-split-data-args-path FILE`` with ``per_split=true``.

Read by ``megatron/training/utils.py:get_blend_and_blend_per_split`` (Megatron-LM main, 2025-2026) and
``megatron.core.datasets.utils.get_blend_from_list`` (megatron-core 0.16.1): the text form is split at white space into
weight, prefix, weight, prefix ..., so that it can hold neither comments nor paths with spaces; the JSON form has a
list (or null) under each of train, valid and test, and other keys are not read. A prefix is the path of a .bin and
.idx pair without the ending. Megatron repeats a prefix as often as its weight asks, so that passes follow from
``--train-samples``; with the text form ``--split`` takes validation data from the same prefixes.
"""

import json
from dataclasses import dataclass

from curate.errors import SchemaError
from curate.exports import _text
from curate.pool.mixture import Mixture


def blend(mixture: Mixture) -> list[tuple[float, str]]:
    """Return (weight, prefix) of every part.

    Raises:
        SchemaError: several paths of a pool, or white space at the end of one, which Megatron strips.
    """
    pairs = []
    for part, share in zip(mixture.parts, mixture.shares, strict=True):
        where = f"pool {part.pool.name!r} has the path {part.paths[0]!r}"
        if len(part.paths) != 1:
            raise SchemaError(
                f"{where} and {len(part.paths) - 1} more, but Megatron takes one weight a prefix: merge them "
                "(tools/merge_datasets.py of Megatron-LM) and give one --path"
            )
        if part.paths[0] != part.paths[0].strip():
            raise SchemaError(f"{where}, and Megatron strips white space at its ends: give another --path")
        pairs.append((share, part.paths[0]))
    return pairs


@dataclass(frozen=True)
class Megatron:
    """Writes weights and prefixes.

    Options:
        per_split: write JSON with the blend under "train", and no validation or test data (default false).
    """

    per_split: bool = False
    usual = "data/{pool}_text_document"  # the output of tools/preprocess_data.py --output-prefix data/POOL
    reads = ()

    @property
    def suffix(self) -> str:
        """.txt, or .json per split."""
        return ".json" if self.per_split else ".txt"

    def render(self, mixture: Mixture) -> str:
        """Return one ``weight prefix`` a line, or JSON.

        Raises:
            SchemaError: see ``blend``; and in the text form a path with white space.
        """
        pairs = blend(mixture)
        if not self.per_split:
            if broken := [path for _, path in pairs if path.split() != [path]]:
                raise SchemaError(
                    f"path {broken[0]!r} has white space, where Megatron would split it: give another --path, or write "
                    "the JSON form with --to megatron:per_split=true"
                )
            return "".join(f"{_text.decimal(weight)} {path}\n" for weight, path in pairs)
        # The key "curate" is not read by Megatron; it holds what other formats say in comments.
        note = {
            "plan": mixture.origin,
            "tokens": {part.pool.name: part.tokens for part in mixture.parts},
            "left_out": list(mixture.left_out),
        }
        train = [item for weight, path in pairs for item in (_text.decimal(weight), path)]
        return json.dumps({"train": train, "valid": None, "test": None, "curate": note}, indent=1) + "\n"
