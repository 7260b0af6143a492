"""Run a language model over texts: log probabilities of tokens, hidden states and gradients."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol, cast

import numpy as np

from curate.errors import SchemaError
from curate.models import batching
from curate.models.pretrained import ModelSource, network_from, tokenizer_from

if TYPE_CHECKING:
    import torch

KEPT_MODELS = 2  # models that a process keeps: a method that compares two models needs both
# A row of logits has a number for each of up to 150,000 words: 1,024 tokens take up to 600 MB.
BATCH_TOKENS = 1024


class Tokenizer(Protocol):
    """The part of a transformers tokenizer that is used."""

    def __call__(self, text: str | Sequence[str], *, add_special_tokens: bool) -> Mapping[str, list[int]]:
        """Return the tokens of a text as ``input_ids``, or of each text of a list."""
        ...


@dataclass(frozen=True)
class LanguageModel:
    """A loaded causal language model, and the most tokens that it takes, ``limit``.

    Texts longer than ``limit`` tokens are read in windows. Each window but the first repeats the last half of the one
    before, so that every token after the first window has a context of at least ``limit / 2`` tokens.
    """

    tokenizer: Tokenizer
    network: "torch.nn.Module"
    device: "torch.device"
    limit: int

    def tokens(self, text: str, *, bare: bool = False) -> list[int]:
        """Return the tokens of a text. With ``bare``, leave out the marks that the tokenizer puts around a text."""
        return list(self.tokenizer(text, add_special_tokens=not bare)["input_ids"])

    def log_probabilities(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Return the log probability of each token of each text but the first, (t - 1,) float32, in nats."""
        ids = [self.tokens(text) for text in texts]
        results = [np.zeros(max(0, len(row) - 1), np.float32) for row in ids]

        def keep(row: int, window: batching.Window, output: "ModelOutput", place: int) -> None:
            import torch

            # The logits at one token are those of the next. Those of the padding are left out.
            logits = output.logits[place, : window.stop - window.start - 1].float()
            targets = torch.tensor(ids[row][window.start + 1 : window.stop], device=self.device)
            values = logits.gather(1, targets[:, None])[:, 0] - logits.logsumexp(dim=1)
            new = max(window.first, 1)
            results[row][new - 1 : window.stop - 1] = values[new - window.start - 1 :].cpu().numpy()

        self._run(ids, keep)
        return results

    def hidden_states(self, texts: Sequence[str], layer: int = -1) -> list[np.ndarray]:
        """Return the states after a layer for each token of each text, (t, d) float32; layer 0 is the embedding."""
        ids = [self.tokens(text) for text in texts]
        width = int(self.network.config.hidden_size)  # type: ignore[union-attr, arg-type]
        results = [np.zeros((len(row), width), np.float32) for row in ids]

        def keep(row: int, window: batching.Window, output: "ModelOutput", place: int) -> None:
            states = output.hidden_states[layer][place, window.first - window.start : window.stop - window.start]
            results[row][window.first : window.stop] = states.float().cpu().numpy()

        self._run(ids, keep, output_hidden_states=True)
        return results

    def gradients(self, texts: Sequence[str], parameters: Sequence[str]) -> np.ndarray:
        """Return the gradient of each text's mean loss, (n, p) float32, one text at a time.

        ``parameters`` are names of the network's parameters; their p numbers are joined in this order. A text is cut
        after ``limit`` tokens. A text of fewer than two tokens has the zero vector.

        Raises:
            SchemaError: if the network has no parameter of such a name.
        """
        import torch

        from curate import numerical_threads

        named = dict(self.network.named_parameters())
        if unknown := [name for name in parameters if name not in named]:
            raise SchemaError(f"the model has no parameter {unknown[0]!r}; one is {next(iter(named))}. Name another")
        chosen = [named[name] for name in parameters]
        result = np.zeros((len(texts), sum(parameter.numel() for parameter in chosen)), np.float32)
        for parameter in chosen:
            parameter.requires_grad_(True)
        try:
            for row, text in enumerate(texts):
                ids = torch.tensor([self.tokens(text)[: self.limit]], dtype=torch.long, device=self.device)
                if ids.shape[1] < 2:
                    continue
                with torch.enable_grad(), numerical_threads.single_by_default():
                    logits = self.network(input_ids=ids).logits[0, :-1].float()
                    loss = torch.nn.functional.cross_entropy(logits, ids[0, 1:])
                    parts = torch.autograd.grad(loss, chosen)
                result[row] = torch.cat([part.flatten().float() for part in parts]).cpu().numpy()
        finally:
            for parameter in chosen:
                parameter.requires_grad_(False)
        return result

    def _run(self, ids: Sequence[Sequence[int]], keep: "Keep", **options: bool) -> None:
        """Run the windows of all texts in batches, and give each window's output to ``keep``.

        The padding stands behind the tokens. A causal model does not look ahead, so no mask is needed.
        """
        import torch

        from curate import numerical_threads

        cut = [
            (row, window)
            for row, tokens in enumerate(ids)
            for window in batching.windows(len(tokens), self.limit, self.limit // 2)
        ]
        lengths = [window.stop - window.start for _, window in cut]
        for batch in batching.by_length(lengths, self.limit, tokens=BATCH_TOKENS):
            members = [cut[number] for number in batch.rows]
            rows = [ids[row][window.start : window.stop] for row, window in members]
            inputs = torch.from_numpy(batching.padded(rows, batch.width, 0)).to(self.device)
            with torch.inference_mode(), numerical_threads.single_by_default():
                output = self.network(input_ids=inputs, use_cache=False, **options)
                for place, (row, window) in enumerate(members):
                    keep(row, window, output, place)


class ModelOutput(Protocol):
    """The part of a network's output that is used."""

    logits: "torch.Tensor"
    hidden_states: "Sequence[torch.Tensor]"


class Keep(Protocol):
    """Take what is wanted of one window of the text ``row``, which is at ``place`` of a batch."""

    def __call__(self, row: int, window: batching.Window, output: ModelOutput, place: int) -> None:
        """Store a part of the output."""
        ...


@lru_cache(maxsize=KEPT_MODELS)
def loaded(source: ModelSource, *, attention: str = "") -> LanguageModel:
    """Return a model, which is loaded once in a process and then kept.

    Args:
        source: the model, and how it is run.
        attention: how attention is computed, such as ``eager``, which can return its weights; empty: as transformers
            chooses.

    Raises:
        SchemaError: if the model cannot be loaded.
        CurateError: if there is no such device.
    """
    tokenizer = cast(Tokenizer, tokenizer_from(source))
    options = {"attn_implementation": attention} if attention else {}
    network, device = network_from("AutoModelForCausalLM", source, **options)
    limit = int(getattr(network.config, "max_position_embeddings", 0) or 1024)
    return LanguageModel(tokenizer, network, device, limit)
