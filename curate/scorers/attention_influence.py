"""AttentionInfluence (arXiv 2505.07293): how much the loss rises without the retrieval heads of a model."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl

from curate import extras
from curate.errors import SchemaError
from curate.progress import counted
from curate.scorers import _retrieval_heads
from curate.tables.corpus import Corpus

REQUIRES = _retrieval_heads.PACKAGE


def check_packages(options: Mapping[str, object]) -> None:
    """Check that the packages are installed that a model needs, before any file is read.

    Raises:
        CurateError: if one is not installed.
    """
    for package in (REQUIRES, *(("gguf",) if str(options.get("model", "")).endswith(".gguf") else ())):
        extras.require("scorer attention_influence", package, "lm")


LEAST_LOSS = 1e-9  # below it a loss counts as this, so that the ratio is finite


@dataclass(frozen=True)
class AttentionInfluence:
    """How much a text needs a model's retrieval heads; high is a text that needs reasoning over its context.

    ``score.attention_influence`` (float64) is (L_ref - L) / L. L is the mean loss of the text's tokens under the model,
    L_ref the same with the attention of its retrieval heads made uniform over the tokens before. Keep high scores, and
    compare within a domain only. A text of fewer than two tokens scores 0. ``heads`` (k, 2) are the layer and number of
    each retrieval head.

    Source: AttentionInfluence, arXiv 2505.07293.
    """

    heads: np.ndarray = field(repr=False)
    model: str = ""
    tokens: int = 1024
    needs = ("text",)
    schema = {"score.attention_influence": pl.Float64()}
    meanings = {"score.attention_influence": "quality"}

    @property
    def arrays(self) -> Mapping[str, np.ndarray]:
        """Learned arrays, to be saved."""
        return {"heads": self.heads}

    def __call__(self, batch: pl.DataFrame) -> pl.DataFrame:
        """Score a batch, a text at a time: padding would change losses in the last digits."""
        scores = [self._score(text) for text in batch["text"].fill_null("")]
        return pl.DataFrame({"score.attention_influence": scores}, schema=dict(self.schema))

    def _score(self, text: str) -> float:
        ids = _retrieval_heads.encode(self.model, text)[: self.tokens]
        if len(ids) < 2:
            return 0.0
        base = _retrieval_heads.loss(self.model, ids, ())
        without_heads = _retrieval_heads.loss(self.model, ids, self.heads.tolist())
        return (without_heads - base) / max(base, LEAST_LOSS)


@dataclass(frozen=True)
class RetrievalSample:
    """One of the samples by which retrieval heads are found, as a task of a worker."""

    model: str
    seed: int
    number: int

    def __str__(self) -> str:
        """Return the words by which a message names the task."""
        return f"retrieval sample {self.number} with the model {self.model}"


def learn(
    corpus: Corpus, *, model: str = "", share: float = 0.05, samples: int = 40, tokens: int = 1024, seed: int = 0
) -> AttentionInfluence:
    """Return the retrieval heads of a language model, those that copy a value from its context best.

    A sample shows keys of 32 hexadecimal digits with values, and asks for one value after three examples. The score of
    a head is the share of the value's tokens that the model predicts while the head looks most at that token within the
    value. (The paper generates freely, with 800 samples of up to 4,096 tokens and a model of 1.3e9 parameters.) Workers
    run the model. The data is not read: heads depend on the model alone.

    Options:
        model: a Hugging Face model folder, or a GGUF file (required).
        share: share of all heads that are taken as retrieval heads, in (0, 1) (default 0.05).
        samples: samples over which the score of a head is averaged (default 40).
        tokens: tokens of a text that count, from its beginning (default 1024).
        seed: seed of the samples (default 0).

    Raises:
        CurateError: if a package is not installed.
        SchemaError: if there is no model, or it is not built like Llama.
    """
    check_packages({"model": model})
    if not Path(model).exists() or not model:
        raise SchemaError(f"attention_influence: no model at {model!r}. Name a folder or GGUF file: model=PATH")
    if not 0 < share < 1 or samples < 1 or tokens < 2:
        raise SchemaError(
            f"attention_influence: share={share} must be in (0, 1), samples={samples} at least 1, tokens={tokens} at "
            "least 2"
        )
    if corpus.first_batch(("text",)) is None:
        raise SchemaError("attention_influence: the data has no rows. Give it data with texts")
    tasks = [RetrievalSample(model, seed, number) for number in range(samples)]
    # Samples end in any order. Their scores are added in the order of their numbers, so that sums have the same bytes.
    shares = dict(counted(corpus.engine.run(_copied, tasks), "samples shown to the model", samples))
    scores = np.mean([shares[number] for number in range(samples)], axis=0)
    count = max(1, round(share * scores.size))
    best = np.argsort(-scores.ravel(), kind="stable")[:count]
    return AttentionInfluence(np.column_stack(np.unravel_index(np.sort(best), scores.shape)), model, tokens)


def _copied(sample: RetrievalSample) -> tuple[int, np.ndarray]:
    """Return the number of a sample, and the share (layers, heads) of its answer that each head copies."""
    rng = np.random.default_rng((sample.seed, sample.number))
    return sample.number, _retrieval_heads.retrieval(sample.model, rng)
