"""The retrieval heads of a language model: which heads copy from the context, and the loss without some heads.

In: a Hugging Face model folder or GGUF file, and texts. Out: scores of heads, and losses. Runs a network by torch and
transformers, which are imported only when a function needs them.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol, cast

import numpy as np

from curate.errors import SchemaError
from curate.models import language_model
from curate.models.language_model import LanguageModel
from curate.models.pretrained import ModelSource

if TYPE_CHECKING:
    import torch

PACKAGE = "transformers"  # not installed with curate itself
SHOTS = 3  # retrievals that the prompt shows before the question
VALUES = 8  # entries among which the key of the question stands
WORDS = (  # from which the values are drawn
    "amber anchor apple arrow basket beacon bridge bronze candle canyon carpet castle cedar copper cotton desert "
    "dragon ember falcon feather forest garden glacier hammer harbor island ivory jungle kettle ladder lantern "
    "lemon marble meadow mirror mountain needle ocean orange paper pebble pepper pillow planet pocket quartz "
    "rabbit ribbon river saddle shadow silver spider stone sugar summer temple thunder timber tunnel valley "
    "velvet violin window winter"
).split()


@dataclass(frozen=True)
class RetrievalQuestion:
    """One retrieval sample as tokens: the prompt, the answer, and where in the prompt the answer can be copied from."""

    prompt: list[int]
    answer: list[int]
    source: slice


def question(model: str, rng: np.random.Generator) -> RetrievalQuestion:
    """Return one sample: entries of keys and values, SHOTS examples, and a key whose value is asked for."""
    pairs = [(rng.bytes(16).hex(), " ".join(rng.choice(WORDS, 4, replace=False))) for _ in range(VALUES)]
    drawn = rng.choice(VALUES, SHOTS + 1, replace=False)
    body = "{" + ", ".join(f'"{key}": "{value}"' for key, value in pairs) + "}\n"
    shots = "".join(f"Key: {pairs[i][0]}\nValue: {pairs[i][1]}\n" for i in drawn[:-1])
    key, value = pairs[drawn[-1]]
    before = encode(model, body[: body.index(value)])
    prompt, answer = encode(model, f"{body}{shots}Key: {key}\nValue:"), encode(model, f" {value}", bare=True)
    # the value in the body has as many tokens as the answer; its first may take in a quote or a space
    return RetrievalQuestion(prompt, answer, slice(max(0, len(before) - 1), len(before) + len(answer) + 1))


def retrieval(model: str, rng: np.random.Generator) -> np.ndarray:
    """Return the share (layers, heads) of one sample's answer that each head copies."""
    import torch

    sample = question(model, rng)
    answer, ids = np.array(sample.answer), np.array(sample.prompt + sample.answer)
    network = _loaded(model).network
    with torch.inference_mode():
        out = network(torch.tensor([ids.tolist()]), output_attentions=True)
    # a token is predicted at the position before it
    rows = torch.arange(len(sample.prompt) - 1, len(ids) - 1)
    right = (out.logits[0, rows].argmax(dim=-1) == torch.tensor(answer)).numpy()
    shares = []
    for weights in out.attentions:  # (1, heads, L, L)
        target = weights[0, :, rows].argmax(dim=-1).numpy()  # (heads, answer): where each head looks most
        inside = (target >= sample.source.start) & (target < sample.source.stop)
        shares.append((inside & (ids[target] == answer) & right).mean(axis=1))
    return np.stack(shares)


def loss(model: str, ids: Sequence[int], heads: Sequence[Sequence[int]]) -> float:
    """Return the mean loss of a text's tokens, in nats, with uniform attention in ``heads``.

    The loss is that of tokens 1 to L - 1, each given those before it. ``heads`` are pairs of a layer and the number of
    a head. A head with uniform attention gives the running mean of its values.
    """
    import torch

    network = _loaded(model).network
    with ExitStack() as hooks, torch.inference_mode():
        for layer in sorted({int(layer) for layer, _ in heads}):
            attention = network.get_submodule(f"model.layers.{layer}.self_attn")
            numbers = [int(head) for head_layer, head in heads if head_layer == layer]
            change = _Uniform(numbers, cast(HasHeadDim, attention).head_dim, [])
            hooks.callback(attention.get_submodule("v_proj").register_forward_hook(change.keep_values).remove)
            hooks.callback(attention.get_submodule("o_proj").register_forward_pre_hook(change.replace_mix).remove)
        logits = network(torch.tensor([list(ids)])).logits[0, :-1].double()
    return float(torch.nn.functional.cross_entropy(logits, torch.tensor(list(ids[1:]))))


class HasHeadDim(Protocol):
    """The part of an attention layer that is read."""

    head_dim: int


@dataclass(frozen=True)
class _Uniform:
    """Hooks of one layer that make the attention of its ``heads`` uniform; ``width`` is the length of a head's values.

    ``values`` holds the layer's values between the two hooks.
    """

    heads: list[int]
    width: int
    values: "list[torch.Tensor]"

    def keep_values(self, _module: "torch.nn.Module", _inputs: "tuple[torch.Tensor]", out: "torch.Tensor") -> None:
        """Keep the values (1, L, groups x width) that v_proj gives."""
        self.values.append(out)

    def replace_mix(self, _module: "torch.nn.Module", inputs: "tuple[torch.Tensor]") -> "tuple[torch.Tensor]":
        """Return the input of o_proj (1, L, heads x width) with the running mean of its values for each head."""
        import torch

        mixed, values = inputs[0].clone(), self.values[-1]
        group = mixed.shape[-1] // values.shape[-1]  # heads that share values
        counts = torch.arange(1, mixed.shape[1] + 1)[:, None]
        for head in self.heads:
            head_values = values[0, :, head // group * self.width : (head // group + 1) * self.width]
            mixed[0, :, head * self.width : (head + 1) * self.width] = head_values.cumsum(dim=0) / counts
        return (mixed,)


def encode(model: str, text: str, *, bare: bool = False) -> list[int]:
    """Return the tokens of a text; of a ``bare`` text without the marks that the tokenizer puts before it."""
    return _loaded(model).tokens(text, bare=bare)


@lru_cache(maxsize=1)
def _loaded(model: str) -> LanguageModel:
    """Return a model built like Llama, with attention that returns its weights. It runs on the CPU."""
    try:
        loaded = language_model.loaded(ModelSource(model, "cpu"), attention="eager")
    except SchemaError as error:
        raise SchemaError(f"attention_influence: {error}") from None
    first = dict(loaded.network.named_modules()).get("model.layers.0.self_attn")
    if first is None or not all(hasattr(first, name) for name in ("v_proj", "o_proj", "head_dim")):
        raise SchemaError(
            f"attention_influence: {model} has no layers with v_proj and o_proj. Name a model built like Llama"
        )
    return loaded
