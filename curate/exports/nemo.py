"""NeMo data blend: a flat list of weight, prefix, weight, prefix ... in YAML, in the place where each NeMo looks.

``layout=automodel`` (default): the ``dataset`` section of a NeMo AutoModel recipe, whose
``nemo_automodel.components.datasets.llm.megatron_dataset.MegatronPretraining`` (0.7.0) takes ``paths`` so.
``layout=nemo2``: ``data.paths`` of ``nemo.collections.llm.PreTrainingDataModule`` (nemo_toolkit 2.7.3; 3.0 has no
language models any more). ``layout=nemo1``: ``model.data.data_prefix`` of megatron_gpt_config.yaml. All three hand the
list to ``get_blend_from_list`` of Megatron Core, and repeat a prefix as often as its weight asks.
"""

from dataclasses import dataclass

from curate.errors import SchemaError
from curate.exports import _text
from curate.exports.megatron import blend
from curate.pool.mixture import Mixture

# The lines above the list of weights and prefixes, where each NeMo looks for it.
LAYOUTS = {
    "automodel": "dataset:\n  _target_: nemo_automodel.components.datasets.llm.megatron_dataset.MegatronPretraining\n"
    "  seed: {seed}\n  paths:\n",
    "nemo2": "data:\n  _target_: nemo.collections.llm.gpt.data.pre_training.PreTrainingDataModule\n"
    "  seed: {seed}\n  paths:\n",
    "nemo1": "model:\n  data:\n    data_prefix:\n",
}


@dataclass(frozen=True)
class Nemo:
    """Writes weights and prefixes.

    Options:
        layout: which NeMo reads the file: automodel, nemo2 or nemo1 (default automodel).
    """

    layout: str = "automodel"
    suffix = ".yaml"
    usual = "data/{pool}_text_document"
    reads = ()

    def __post_init__(self) -> None:
        """Check the layout."""
        if self.layout not in LAYOUTS:
            raise SchemaError(f"nemo has no layout {self.layout!r}: choose one of {', '.join(LAYOUTS)}")

    def render(self, mixture: Mixture) -> str:
        """Return the section as YAML.

        Raises:
            SchemaError: see `curate.exports.megatron.blend`.
        """
        head = LAYOUTS[self.layout].format(seed=mixture.seed)
        items = [f"      - {_text.decimal(weight)}\n      - {_text.quoted(path)}\n" for weight, path in blend(mixture)]
        return _text.header(mixture, "a prefix of a .bin and .idx pair after each weight") + head + "".join(items)
