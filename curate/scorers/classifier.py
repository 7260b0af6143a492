"""A classifier of texts: learned here from good and bad texts, or a network that others trained."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from curate import extras
from curate.errors import SchemaError
from curate.models import fasttext_file, text_classifier
from curate.models.pretrained import ModelSource
from curate.scorers import _ngram_regression, _target, _words
from curate.streaming.small_samples import sample_of_corpus
from curate.tables.corpus import Corpus

MOST_BUCKETS = 1 << 28  # 2 GB of weights
MOST_ROWS = 1_000_000  # texts of a sample; they are in memory together
NOTHING = np.zeros(0)
PACKAGES = {"model": ("transformers", "lm"), "fasttext": ("fasttext", "fasttext")}


def check_packages(options: Mapping[str, object]) -> None:
    """Check that options fit together and that the packages are installed which they need, before any file is read.

    Raises:
        CurateError: if a package is not installed.
        SchemaError: if there is nothing to classify by, or more than one thing.
    """
    kinds = [name for name in ("good", "model", "fasttext") if options.get(name)]
    if len(kinds) != 1:
        what = f"{' and '.join(kinds)} exclude each other" if kinds else "there is nothing to classify by"
        raise SchemaError(
            f"classifier: {what}. Give one of good=FILES (with bad=FILES, or the data itself is the bad sample), "
            "model=FOLDER and fasttext=FILE"
        )
    only = {"bad": "good", "column": "good", "rows": "good", "buckets": "good", "seed": "good"}
    only |= {"windows": "model", "device": "model"}
    if other := next((name for name in options if only.get(name, kinds[0]) != kinds[0]), None):
        raise SchemaError(f"classifier: {other}= goes with {only[other]}=, not with {kinds[0]}=. Leave it out")
    if "label" in options and kinds[0] == "good":
        raise SchemaError("classifier: label= goes with model= or fasttext=, not with good=. Leave it out")
    if kinds[0] in PACKAGES:
        package, extra = PACKAGES[kinds[0]]
        extras.require(f"scorer classifier with {kinds[0]}=", package, extra)


@dataclass(frozen=True)
class Classifier:
    """How likely a text is good, by a classifier of texts; high is good.

    ``score.classifier`` (float64, nats, any sign) is the log odds of good. The probability is 1 / (1 + exp(-score)). It
    rounds to 1 for clearly good long texts, which would then have no order. There are three kinds:

    - ``good=``: learned here from a good and a bad sample, as if both were equally common. The model is logistic
      regression on hashed words and word pairs, as in DCLM, whose fastText averages them. Words are lower-cased, and a
      run of punctuation is a word. A text of n words and pairs has the value 1 / sqrt(n) for each; without words it has
      the log odds of the bias. A note tells the AUC on texts that were held out.
    - ``model=``: a network of transformers. If it has one output, as that of FineWeb-Edu, the score is this output. A
      text longer than the network takes is read in windows, and has the mean of their scores, weighted by their tokens.
      Only its first 2^20 characters count.
    - ``fasttext=``: a classifier of fastText. Line breaks in a text become spaces.

    ``weights`` (b,) float64 are the learned weights of the buckets.

    Source: Li et al. 2024, arXiv 2406.11794, section 4.4; Penedo et al. 2024, arXiv 2406.17557 (FineWeb-Edu).
    """

    weights: np.ndarray = field(default_factory=NOTHING.copy, repr=False)
    bias: np.ndarray = field(default_factory=NOTHING.copy, repr=False)
    held_out: np.ndarray = field(default_factory=NOTHING.copy, repr=False)
    model: str = ""
    fasttext: str = ""
    label: str = ""
    windows: bool = True
    device: str = "cpu"
    needs = ("text",)
    schema = {"score.classifier": pl.Float64()}
    meanings = {"score.classifier": "quality"}

    @property
    def computed(self) -> tuple[str, ...]:
        """The column that it reads instead of texts, where a job has computed it."""
        return () if self.model or self.fasttext else (_words.COLUMN,)

    @property
    def arrays(self) -> Mapping[str, np.ndarray]:
        """Learned arrays, to be saved."""
        return {"weights": self.weights, "bias": self.bias, "held_out": self.held_out}

    @property
    def notes(self) -> tuple[str, ...]:
        """How well the model tells apart texts that it did not learn from."""
        if not len(self.held_out):
            return ()
        auc, low, high, penalty, *counts = self.held_out.tolist()
        good_tested, bad_tested, good, bad = map(int, counts)
        return (
            f"classifier: AUC {auc:.3f} (95 %: {low:.3f} to {high:.3f}) on {good_tested:,} good and {bad_tested:,} bad "
            f"texts that were held out. It learned from {good:,} good and {bad:,} bad ones (C={penalty:g})",
        )

    def __call__(self, batch: pl.DataFrame) -> pl.DataFrame:
        """Score a batch."""
        return pl.DataFrame({"score.classifier": self._scores(batch)}, schema=dict(self.schema))

    def _scores(self, batch: pl.DataFrame) -> np.ndarray:
        if self.model:
            network = text_classifier.loaded(ModelSource(self.model, self.device), self.label, self.windows)
            return network.scores(batch["text"].fill_null("").to_list())
        if self.fasttext:
            return fasttext_file.loaded(self.fasttext, self.label).scores(batch["text"].fill_null("").to_list())
        odds = [_ngram_regression.evidence(words, self.weights) for words in _words.of_batch(batch)]
        return np.asarray(np.concatenate([np.zeros(0), *odds]) + self.bias[0])


def learn(
    corpus: Corpus,
    *,
    good: str = "",
    bad: str = "",
    column: str = "",
    rows: int = 10_000,
    buckets: int = 1 << 20,
    seed: int = 0,
    model: str = "",
    fasttext: str = "",
    label: str = "",
    windows: bool = True,
    device: str = "cpu",
) -> Classifier:
    """Return the classifier: learned from a sample of good and one of bad texts, or loaded once to check it.

    Options:
        good: files, folders or globs of texts like those that are wanted, joined by + (default: none;
            one of good, model and fasttext is required).
        bad: files, folders or globs of texts that are not wanted (default: the data itself).
        column: the column of both that holds their texts (default: that of the data, or else text).
        rows: texts that are learned from, of each sample: those whose ids have the smallest hashes. Of each the first
            500 words count (default 10000).
        buckets: buckets into which words and word pairs are hashed (default 1048576).
        seed: seed of the samples (default 0).
        model: folder of a sequence classifier of transformers, or the id of one in the cache of Hugging Face (default:
            none). Needs the extra ``lm``.
        fasttext: file of a classifier of fastText, such as that of DCLM (default: none). Needs the extra ``fasttext``.
        label: the label that is good, for ``model`` and ``fasttext`` (default: the second of two labels of a network).
        windows: whether a network reads a long text in windows; otherwise only its first tokens count (default true).
        device: where the network runs: cpu, cuda, or auto for a CUDA device if there is one (default cpu).

    Raises:
        CurateError: if a package is not installed, or there is no such device.
        SchemaError: if the model cannot be loaded, a sample has fewer than ten texts, or an option is out of range.
    """
    check_packages({"good": good, "model": model, "fasttext": fasttext})
    if model:
        text_classifier.loaded(ModelSource(model, device), label, windows)
        return Classifier(model=model, label=label, windows=windows, device=device)
    if fasttext:
        fasttext_file.loaded(fasttext, label)
        return Classifier(fasttext=fasttext, label=label)
    if not (0 < buckets <= MOST_BUCKETS and _ngram_regression.LEAST_TEXTS <= rows <= MOST_ROWS):
        raise SchemaError(
            f"classifier: buckets={buckets} must be 1 to {MOST_BUCKETS}, and rows={rows} must be "
            f"{_ngram_regression.LEAST_TEXTS} to {MOST_ROWS}"
        )
    wanted = _texts(_sample(corpus, good, column), rows, seed)
    unwanted = _texts(_sample(corpus, bad, column) if bad else corpus, rows, seed)
    # The data may hold the good texts too. A text of both samples would tell nothing.
    distinct = unwanted.filter(~unwanted.is_in(wanted.implode()))
    if len(distinct) < _ngram_regression.LEAST_TEXTS <= len(unwanted):
        raise SchemaError(
            f"classifier: {len(unwanted) - len(distinct)} of {len(unwanted)} texts of the bad sample are in the good "
            "one too, and tell nothing. Name files of other texts"
        )
    unwanted = distinct
    learned = _ngram_regression.learn(wanted, unwanted, buckets)
    held_out = [learned.auc, learned.low, learned.high, learned.penalty, *learned.tested, *learned.learned]
    return Classifier(learned.weights, np.array([learned.bias]), np.array(held_out, np.float64))


def _sample(corpus: Corpus, paths: str, column: str) -> Corpus:
    return _target.corpus_of_files(corpus, _target.listed(paths), column, "classifier:column=COLUMN")


def _texts(corpus: Corpus, rows: int, seed: int) -> pl.Series:
    """Return the beginnings of a sample of texts, each once, in the order of the hashes of their ids."""
    sample = sample_of_corpus(corpus, rows, ("text",), seed=seed, prepare=_beginnings)
    return sample["text"].drop_nulls().unique(maintain_order=True)


def _beginnings(batch: pl.DataFrame) -> pl.DataFrame:
    return batch.with_columns(pl.col("text").cast(pl.String).str.slice(0, _ngram_regression.CHARACTERS))
