"""Run a sentence-transformers model: texts in, one vector a text out, as the library makes them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol, cast

import numpy as np

from curate.models import batching, pooling
from curate.models.pretrained import ModelSource, local_path, network_from, tokenizer_from
from curate.models.sentence_folder import SentenceSettings, settings_of

if TYPE_CHECKING:
    import torch

KEPT_MODELS = 2  # models that a process keeps; a job seldom runs more, and each may take gigabytes
FILLERS = {"input_ids": "pad_token_id", "token_type_ids": "pad_token_type_id"}  # the numbers that fill up shorter texts


class SentenceTokenizer(Protocol):
    """The part of a transformers tokenizer that is used."""

    pad_token_id: int | None
    model_max_length: int

    def __call__(self, texts: Sequence[str], **options: object) -> Mapping[str, list[list[int]]]:
        """Return lists of numbers of each text by the name of the network's argument."""
        ...


@dataclass(frozen=True)
class SentenceModel:
    """A loaded model. A text is cut after ``limit`` tokens, or with ``windows`` read in windows of ``limit`` tokens.

    The vector of a text in windows is the mean of the vectors of its windows, weighted by their tokens.
    """

    tokenizer: SentenceTokenizer
    network: "torch.nn.Module"
    device: "torch.device"
    settings: SentenceSettings
    limit: int
    windows: bool = False

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """Return (n, width) float32 vectors. A text without tokens has the zero vector."""
        tokens, owner = self._tokens(texts)
        lengths = np.array([len(row) for row in tokens["input_ids"]], np.int64)
        vectors = np.zeros((len(lengths), self.settings.width))
        for batch in batching.by_length(lengths, self.limit):
            states = self._states(tokens, batch)
            for row, state in zip(batch.rows, states, strict=True):
                vectors[row] = pooling.pooled(state[: lengths[row]], self.settings.pooling)
        if self.windows:
            vectors = _weighted(vectors, lengths, owner, len(texts))
        return np.asarray(pooling.unit(vectors) if self.settings.unit else vectors, np.float32)

    def _tokens(self, texts: Sequence[str]) -> tuple[Mapping[str, list[list[int]]], np.ndarray]:
        """Return the tokens of each window of each text, and the number of the text that each window belongs to."""
        if not len(texts):
            return {"input_ids": []}, np.zeros(0, np.int64)
        prompt, lower = self.settings.prompt, self.settings.lower
        words = [prompt + (text.lower() if lower else text) for text in texts]
        options = {"truncation": True, "max_length": self.limit, "return_overflowing_tokens": self.windows}
        tokens = dict(self.tokenizer(words, **options))
        owner = tokens.pop("overflow_to_sample_mapping", None)
        return tokens, np.arange(len(texts)) if owner is None else np.asarray(owner)

    def _states(self, tokens: Mapping[str, list[list[int]]], batch: batching.Batch) -> np.ndarray:
        """Return the vectors of the tokens of a batch, (b, width, d) float32."""
        import torch

        from curate import numerical_threads

        inputs = {
            name: torch.from_numpy(
                batching.padded(
                    [lists[row] for row in batch.rows],
                    batch.width,
                    getattr(self.tokenizer, FILLERS.get(name, ""), None) or 0,
                )
            ).to(self.device)
            for name, lists in tokens.items()
        }
        with torch.inference_mode(), numerical_threads.single_by_default():
            states: torch.Tensor = self.network(**inputs).last_hidden_state
        return states.float().cpu().numpy()


def _weighted(vectors: np.ndarray, weights: np.ndarray, owner: np.ndarray, texts: int) -> np.ndarray:
    """Return the (n, d) mean of the vectors of each text's windows, by the weights of the windows."""
    sums = np.zeros((texts, vectors.shape[1]))
    totals = np.zeros(texts)
    np.add.at(sums, owner, vectors * weights[:, None])
    np.add.at(totals, owner, weights)
    return np.asarray(sums / np.maximum(totals, 1)[:, None])


@lru_cache(maxsize=KEPT_MODELS)
def loaded(source: ModelSource, longest: int = 0, windows: bool = False) -> SentenceModel:
    """Return a model, which is loaded once in a process and then kept.

    Args:
        source: the model, and how it is run.
        longest: tokens at which a text is cut; 0 is the model's own limit.
        windows: whether a longer text is read in windows.

    Raises:
        SchemaError: if the model cannot be loaded, or has layers that are not computed here.
        CurateError: if there is no such device.
    """
    settings = settings_of(local_path(source.model))
    transformer = ModelSource(str(settings.transformer), source.device, source.dtype)
    tokenizer = cast(SentenceTokenizer, tokenizer_from(transformer))
    network, device = network_from("AutoModel", transformer)
    most = int(getattr(network.config, "max_position_embeddings", 0) or tokenizer.model_max_length)
    own = settings.limit or min(most, int(tokenizer.model_max_length))
    limit = min(longest, most) if longest else own
    return SentenceModel(tokenizer, network, device, settings, limit, windows)
