"""AttentionInfluence (arXiv 2505.07293): how much worse a language model does without its retrieval heads."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import lru_cache, partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import polars as pl

from curate.errors import CurateError, SchemaError
from curate.tables.batches import Stream

if TYPE_CHECKING:
    import torch

REQUIRES = "transformers"  # a package that is not installed with curate itself
SHOTS = 3  # retrievals that are shown before the one that is asked
VALUES = 8  # entries among which a key is sought
WORDS = (  # of the values
    "amber anchor apple arrow basket beacon bridge bronze candle canyon carpet castle cedar copper cotton desert "
    "dragon ember falcon feather forest garden glacier hammer harbor island ivory jungle kettle ladder lantern "
    "lemon marble meadow mirror mountain needle ocean orange paper pebble pepper pillow planet pocket quartz "
    "rabbit ribbon river saddle shadow silver spider stone sugar summer temple thunder timber tunnel valley "
    "velvet violin window winter"
).split()


class Tokenizer(Protocol):
    """What is used of a transformers tokenizer."""

    def __call__(self, text: str, *, add_special_tokens: bool) -> Mapping[str, list[int]]:
        """Return the tokens of a text as ``input_ids``."""
        ...


@dataclass(frozen=True)
class AttentionInfluence:
    """``score.attention_influence``: (L_ref - L) / L, float64, L the mean loss of a text's tokens under ``model`` and
    L_ref the same with the attention of its retrieval heads made uniform over the tokens before.

    High = the text needs reasoning over its context: keep high, comparing within a domain only. A text of less than two
    tokens scores 0; of a longer one the first ``tokens`` count. ``heads`` (k, 2): layer and place of each such head.
    """

    heads: np.ndarray = field(repr=False)
    model: str = ""
    tokens: int = 1024
    needs = ("text",)
    schema = {"score.attention_influence": pl.Float64()}

    @property
    def arrays(self) -> Mapping[str, np.ndarray]:
        """Learned arrays, to be saved."""
        return {"heads": self.heads}

    def __call__(self, batch: pl.DataFrame) -> pl.DataFrame:
        """Score a batch, a text at a time: padding would change losses in the last digits."""
        scores = [self._score(text) for text in batch["text"].fill_null("")]
        return pl.DataFrame({"score.attention_influence": scores}, schema=dict(self.schema))

    def _score(self, text: str) -> float:
        ids = encode(self.model, text)[: self.tokens]
        if len(ids) < 2:
            return 0.0
        base = loss(self.model, ids, ())
        return (loss(self.model, ids, self.heads.tolist()) - base) / max(base, 1e-9)


def learn(
    stream: Stream, *, model: str = "", share: float = 0.05, samples: int = 40, tokens: int = 1024, seed: int = 0
) -> AttentionInfluence:
    """Find the ``share`` of heads of a Hugging Face model folder, or GGUF file, that retrieve best.

    A sample shows keys of 32 hexadecimal digits with values, and asks for one after three examples. A head's score is
    the share of the value's tokens that the model predicts while the head looks most at that token within the value;
    the paper generates freely, uses 800 samples of up to 4,096 tokens and a model of 1.3e9 parameters.
    """
    if find_spec(REQUIRES) is None:
        raise CurateError("scorer attention_influence needs the package transformers: pip install 'curate[lm]'")
    if not Path(model).exists() or not model:
        raise SchemaError(f"attention_influence: no model at {model!r}: name a folder or GGUF file, model=PATH")
    if not 0 < share < 1 or samples < 1 or tokens < 2:
        raise SchemaError(
            f"attention_influence: share={share} must be in (0, 1), samples={samples} at least 1, tokens={tokens} 2"
        )
    if not any(batch.height for batch in stream(("text",))):
        raise SchemaError("attention_influence: the data has no rows")
    found = np.mean([retrieval(model, np.random.default_rng((seed, i))) for i in range(samples)], axis=0)
    count = max(1, round(share * found.size))
    best = np.argsort(-found.ravel(), kind="stable")[:count]
    return AttentionInfluence(np.column_stack(np.unravel_index(np.sort(best), found.shape)), model, tokens)


def retrieval(model: str, rng: np.random.Generator) -> np.ndarray:
    """Return (layers, heads) shares of one sample's answer that each head copies."""
    import torch

    pairs = [(rng.bytes(16).hex(), " ".join(rng.choice(WORDS, 4, replace=False))) for _ in range(VALUES)]
    asked = rng.choice(VALUES, SHOTS + 1, replace=False)
    body = "{" + ", ".join(f'"{key}": "{value}"' for key, value in pairs) + "}\n"
    shots = "".join(f"Key: {pairs[i][0]}\nValue: {pairs[i][1]}\n" for i in asked[:-1])
    key, value = pairs[asked[-1]]
    before = encode(model, body[: body.index(value)])
    prompt, answer = encode(model, f"{body}{shots}Key: {key}\nValue:"), encode(model, f" {value}", bare=True)
    # the value in the body: from where its beginning is, for as many tokens; its first may differ by a quote or space
    near = slice(max(0, len(before) - 1), len(before) + len(answer) + 1)
    _, network = _load(model)
    with torch.inference_mode():
        out = network(torch.tensor([prompt + answer]), output_attentions=True)
    rows = torch.arange(len(prompt) - 1, len(prompt) + len(answer) - 1)  # where each token of the answer is predicted
    right = (out.logits[0, rows].argmax(dim=-1) == torch.tensor(answer)).numpy()
    ids = np.array(prompt + answer)
    found = []
    for weights in out.attentions:  # (1, heads, L, L)
        looked = weights[0, :, rows].argmax(dim=-1).numpy()  # (heads, answer)
        inside = (looked >= near.start) & (looked < near.stop)
        found.append((inside & (ids[looked] == np.array(answer)) & right).mean(axis=1))
    return np.stack(found)


def loss(model: str, ids: Sequence[int], heads: Sequence[Sequence[int]]) -> float:
    """Return the mean loss of tokens 1 to L - 1 given those before, nats; attention of ``heads`` is uniform.

    A head that attends alike to all tokens so far gives the running mean of its values.
    """
    import torch

    _, network = _load(model)
    with ExitStack() as hooks, torch.inference_mode():
        for layer in sorted({int(layer) for layer, _ in heads}):
            attention = network.get_submodule(f"model.layers.{layer}.self_attn")
            places, values = [int(head) for at, head in heads if at == layer], list[torch.Tensor]()
            change = partial(_change, values=values, places=places, width=int(getattr(attention, "head_dim")))  # noqa: B009
            keep = partial(_keep, values=values)
            hooks.callback(attention.get_submodule("v_proj").register_forward_hook(keep).remove)
            hooks.callback(attention.get_submodule("o_proj").register_forward_pre_hook(change).remove)
        logits = network(torch.tensor([list(ids)])).logits[0, :-1].double()
    return float(torch.nn.functional.cross_entropy(logits, torch.tensor(list(ids[1:]))))


def _keep(
    _module: "torch.nn.Module", _given: tuple["torch.Tensor"], out: "torch.Tensor", *, values: list["torch.Tensor"]
) -> None:
    values.append(out)


def _change(
    _module: "torch.nn.Module",
    given: tuple["torch.Tensor"],
    *,
    values: list["torch.Tensor"],
    places: list[int],
    width: int,
) -> tuple["torch.Tensor"]:
    return (_uniform(given[0], values[-1], places, width),)


def _uniform(mixed: "torch.Tensor", values: "torch.Tensor", places: list[int], width: int) -> "torch.Tensor":
    """Put the running mean of its values into each head's part of (1, L, heads x width)."""
    import torch

    mixed = mixed.clone()
    group = mixed.shape[-1] // values.shape[-1]  # heads that share values
    counts = torch.arange(1, mixed.shape[1] + 1)[:, None]
    for head in places:
        own = values[0, :, head // group * width : (head // group + 1) * width]
        mixed[0, :, head * width : (head + 1) * width] = own.cumsum(dim=0) / counts
    return mixed


def encode(model: str, text: str, *, bare: bool = False) -> list[int]:
    """Return the tokens of a text, without the marks of its beginning where it is ``bare``."""
    tokenizer, _ = _load(model)
    return list(tokenizer(text, add_special_tokens=not bare)["input_ids"])


@lru_cache(maxsize=1)
def _load(model: str) -> tuple[Tokenizer, "torch.nn.Module"]:
    transformers = import_module(REQUIRES)
    path = Path(model)
    folder, more = (path.parent, {"gguf_file": path.name}) if path.suffix == ".gguf" else (path, {})
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, **more)
        network = transformers.AutoModelForCausalLM.from_pretrained(
            folder, attn_implementation="eager", dtype="float32", **more
        )
    except (OSError, ValueError, ImportError) as error:  # as transformers says what it lacks
        raise SchemaError(
            f"attention_influence: {model} cannot be loaded: {' '.join(str(error).split())[:300]}"
        ) from None
    first = dict(network.named_modules()).get("model.layers.0.self_attn")
    if first is None or not all(hasattr(first, name) for name in ("v_proj", "o_proj", "head_dim")):
        raise SchemaError(f"attention_influence: {model} has no layers with v_proj and o_proj, like Llama")
    return tokenizer, network.eval()
