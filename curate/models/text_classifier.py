"""Run a network that classifies texts, as transformers loads it: texts in, one score a text out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol, cast

import numpy as np

from curate.errors import SchemaError, first_few
from curate.models import batching
from curate.models.pretrained import ModelSource, network_from, tokenizer_from
from curate.models.sentences import FILLERS

if TYPE_CHECKING:
    import torch

KEPT_MODELS = 2  # models that a process keeps; each may take gigabytes
# Characters of a text that are read, from its beginning: 200,000 words. Tokens of longer texts would fill the memory.
CHARACTERS = 1 << 20
DEFAULT_LIMIT = 512  # tokens of a window, where neither the network nor its tokenizer says how many it takes


class WindowTokenizer(Protocol):
    """The part of a transformers tokenizer that is used."""

    pad_token_id: int | None
    model_max_length: int

    def __call__(self, texts: Sequence[str], **options: object) -> Mapping[str, list[list[int]]]:
        """Return lists of numbers of each window of each text by the name of the network's argument."""
        ...


@dataclass(frozen=True)
class TextClassifier:
    """A loaded classifier.

    A text of more than ``limit`` tokens is read in windows of that size; without ``windows`` only the first one counts.
    Its score is the mean of the scores of its windows, weighted by their tokens. ``label`` is the number of the label
    whose log odds are the score; None for a network with one output, which is the score.
    """

    tokenizer: WindowTokenizer
    network: "torch.nn.Module"
    device: "torch.device"
    limit: int
    label: int | None
    windows: bool = True

    def scores(self, texts: Sequence[str]) -> np.ndarray:
        """Return the scores of n texts, (n,) float64. A text without tokens has the score 0."""
        tokens, owner = self._tokens([text[:CHARACTERS] for text in texts])
        lengths = np.array([len(row) for row in tokens["input_ids"]], np.int64)
        values = np.zeros(len(lengths))
        for batch in batching.by_length(lengths, self.limit):
            values[batch.rows] = self._values(tokens, batch)
        totals = np.bincount(owner, values * lengths, minlength=len(texts))
        return np.asarray(totals / np.maximum(np.bincount(owner, lengths, minlength=len(texts)), 1))

    def _tokens(self, texts: Sequence[str]) -> tuple[Mapping[str, list[list[int]]], np.ndarray]:
        """Return the tokens of each window of each text, and the number of the text that each window belongs to."""
        if not texts:
            return {"input_ids": []}, np.zeros(0, np.int64)
        options = {"truncation": True, "max_length": self.limit, "return_overflowing_tokens": self.windows}
        tokens = dict(self.tokenizer(texts, **options))
        owner = tokens.pop("overflow_to_sample_mapping", None)
        return tokens, np.arange(len(texts)) if owner is None else np.asarray(owner)

    def _values(self, tokens: Mapping[str, list[list[int]]], batch: batching.Batch) -> np.ndarray:
        """Return the score of each window of a batch, (b,) float64."""
        import torch

        from curate import numerical_threads

        inputs = {}
        for name, lists in tokens.items():
            filler = getattr(self.tokenizer, FILLERS.get(name, ""), None) or 0
            rows = batching.padded([lists[row] for row in batch.rows], batch.width, filler)
            inputs[name] = torch.from_numpy(rows).to(self.device)
        with torch.inference_mode(), numerical_threads.single_by_default():
            logits: torch.Tensor = self.network(**inputs).logits
        values = logits.double().cpu().numpy()
        return np.asarray(values[:, 0] if self.label is None else _log_odds(values, self.label))


def _log_odds(logits: np.ndarray, label: int) -> np.ndarray:
    """Return the log odds of one label against all others, (b,), from the logits of all, (b, c)."""
    others = np.delete(logits, label, axis=1)
    return np.asarray(logits[:, label] - np.logaddexp.reduce(others, axis=1))


@lru_cache(maxsize=KEPT_MODELS)
def loaded(source: ModelSource, label: str = "", windows: bool = True) -> TextClassifier:
    """Return a classifier, which is loaded once in a process and then kept.

    Args:
        source: the model, and how it is run.
        label: the label whose log odds are the score; empty for a network with one output, or the second of two labels.
        windows: whether a text of more tokens than the network takes is read in windows.

    Raises:
        SchemaError: if the model cannot be loaded, or has no such label.
        CurateError: if there is no such device.
    """
    tokenizer = cast(WindowTokenizer, tokenizer_from(source))
    network, device = network_from("AutoModelForSequenceClassification", source)
    config = network.config
    most = int(getattr(config, "max_position_embeddings", 0) or DEFAULT_LIMIT)
    # A tokenizer that does not say gives a huge number. RoBERTa counts two positions more than it has.
    limit = min(most, int(tokenizer.model_max_length))
    names = {int(number): str(name) for number, name in dict(getattr(config, "id2label", {})).items()}
    number = _label_number(names, label, source.model)
    return TextClassifier(tokenizer, network, device, limit, number, windows)


def _label_number(names: Mapping[int, str], label: str, model: str) -> int | None:
    """Return the number of a label; None for a network with one output.

    Raises:
        SchemaError: if there is no such label, or there are several and none is named.
    """
    if len(names) == 1 and not label:
        return None
    if not label and len(names) == 2:
        return 1
    matches = [number for number, name in names.items() if name == label]
    if len(names) < 2 or not matches:
        what = f"has no label {label!r}" if label else "has several labels, and none is named"
        raise SchemaError(
            f"{model} {what}. Its labels: {first_few(names.values(), near=label)}. "
            + ("Leave out label=" if len(names) == 1 else "Give label=NAME of the one that is good")
        )
    return matches[0]
