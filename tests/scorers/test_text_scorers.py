"""Text scorers against brute force and cases worked by hand: dsir, perplexity, length."""

import math
import re
from collections import Counter
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp

import numpy as np
import polars as pl
import pytest
from corpora import corpus_of

from curate.errors import Interrupted, SchemaError
from curate.scorers import dsir, perplexity
from curate.scorers.length import Length
from curate.scoring import score

TEXTS = ["a b, a b!", "The cat sat. The CAT ran", "b b b b", "x", "", "one two three one two"]
FOLDER = TemporaryDirectory()  # of what learners keep
LIKED = ["the cat sat on the mat, the cat", "a cat ran"]


def frame(texts):
    return pl.DataFrame({"id": [f"d{i}" for i in range(len(texts))], "text": pl.Series(texts, dtype=pl.String)})


def corpus_of_texts(texts, cuts=(), engine=None):
    return corpus_of(frame(texts), cuts, Path(mkdtemp(dir=FOLDER.name)), engine)


def words(text):
    """nltk's wordpunct_tokenize, lower-cased."""
    return re.findall(r"\w+|[^\w\s]+", text.lower())


@pytest.fixture
def target(tmp_path):
    frame(LIKED).write_parquet(tmp_path / "target.parquet")
    return str(tmp_path / "target.parquet")


# ---------------------------------------------------------------- dsir


def grams(text):
    return words(text) + [" ".join(pair) for pair in zip(words(text), words(text)[1:], strict=False)]


def by_hand(texts, liked, smoothing, buckets):
    """log p - log q with a bucket of its own for each n-gram; buckets that nothing falls into count in the shares."""

    def log_shares(corpus):
        counts = Counter(g for text in corpus for g in grams(text))
        total = sum(counts.values()) + smoothing * buckets
        return lambda g: math.log((counts[g] + smoothing) / total + (0 if smoothing else 1e-8))

    p, q = log_shares(liked), log_shares(texts)
    return [sum(p(g) - q(g) for g in grams(text)) for text in texts]


@pytest.mark.parametrize("smoothing", [1.0, 0.5, 0.0])
def test_dsir_is_the_sum_over_ngrams_by_brute_force(target, smoothing):
    buckets = 1 << 22  # no two n-grams meet
    scorer = dsir.learn(corpus_of_texts(TEXTS), target=target, smoothing=smoothing, buckets=buckets)
    scores = scorer(frame(TEXTS))["score.dsir"].to_list()
    assert scores == pytest.approx(by_hand(TEXTS, LIKED, smoothing, buckets), rel=1e-9)


def test_dsir_with_few_buckets_sums_their_log_ratios(target):
    """Buckets of the same hash in p, q and the sum: shares of p and q are over buckets and sum to 1."""
    scorer = dsir.learn(corpus_of_texts(TEXTS), target=target, buckets=7, smoothing=1.0)
    p, q = (dsir._counts(corpus_of_texts(texts), 7) for texts in (LIKED, TEXTS))
    assert p.sum() == sum(len(grams(t)) for t in LIKED)
    ratios = np.log((p + 1) / (p.sum() + 7)) - np.log((q + 1) / (q.sum() + 7))
    assert np.allclose(scorer.ratios, ratios)
    each = [dsir._counts(corpus_of_texts([t]), 7) @ ratios for t in TEXTS]
    assert scorer(frame(TEXTS))["score.dsir"].to_list() == pytest.approx(each)


def test_a_long_text_dominates_only_without_normalising(target):
    """The authors' code does not normalise: the sum grows with the text, the mean does not."""
    long = [LIKED[0], " ".join([LIKED[0]] * 50)]
    total = dsir.learn(corpus_of_texts(TEXTS), target=target)(frame(long))["score.dsir"]
    mean = dsir.learn(corpus_of_texts(TEXTS), target=target, normalise=True)(frame(long))["score.dsir"]
    assert total[1] > 45 * total[0] > 0
    assert mean[1] == pytest.approx(mean[0], rel=0.2)
    assert mean[0] == pytest.approx(total[0] / len(grams(LIKED[0])))


def test_a_rare_ngram_weighs_18_nats_only_without_smoothing(target):
    rare = frame(["zyzzyva"])
    texts = [*TEXTS, "zyzzyva"]
    floor = dsir.learn(corpus_of_texts(texts), target=target, smoothing=0.0)(rare)["score.dsir"][0]
    smooth = dsir.learn(corpus_of_texts(texts), target=target)(rare)["score.dsir"][0]
    assert floor < -14
    assert abs(smooth) < 1


def test_dsir_prefers_the_targets_kind(target):
    texts = ["stocks fell sharply in early trade"] * 20 + ["the cat sat on a mat"] * 20
    scores = dsir.learn(corpus_of_texts(texts), target=target, normalise=True)(frame(texts))["score.dsir"].to_numpy()
    assert scores[20:].min() > scores[:20].max()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "dsir has no target. Name a file"),
        ({"target": "/no/such"}, "/no/such"),
        ({"buckets": 0}, "buckets=0 must be"),
        ({"smoothing": -1}, "smoothing=-1"),
        ({"target_column": "body"}, "no column 'body'"),
    ],
)
def test_dsir_names_what_is_wrong(target, options, message):
    with pytest.raises(SchemaError, match=message) as caught:
        dsir.learn(
            corpus_of_texts(TEXTS), **({"target": target} if options and "target" not in options else {}) | options
        )
    assert "\n" not in str(caught.value)


def test_dsir_needs_words_on_both_sides(tmp_path, target):
    frame(["", None, "  "]).write_parquet(tmp_path / "empty.parquet")
    with pytest.raises(SchemaError, match=r"the target .*empty\.parquet has no words"):
        dsir.learn(corpus_of_texts(TEXTS), target=str(tmp_path / "empty.parquet"))
    with pytest.raises(SchemaError, match="the data has no words"):
        dsir.learn(corpus_of_texts(["", None]), target=target)


# ---------------------------------------------------------------- perplexity


def model(texts, order, vocabulary, concentration, split):
    """p(unit | units before) by MacKay and Peto's formula with exact counts; each text has marks around it."""
    counts, contexts = Counter(), Counter()
    for text in texts:
        units = [None] * order + split(text) + ["end"] * bool(split(text))
        for i in range(order, len(units)):
            for k in range(1, order + 1):
                counts[tuple(units[i - k + 1 : i + 1])] += 1
                contexts[(k, *units[i - k + 1 : i])] += 1

    def share(before, unit):
        p = 1 / vocabulary
        for k in range(1, order + 1):
            history = tuple(before[len(before) - k + 1 :])
            p = (counts[(*history, unit)] + concentration * p) / (contexts[(k, *history)] + concentration)
        return p

    def mean(text):
        units = [None] * order + split(text)
        logs = [math.log(share(units[:i], units[i])) for i in range(order, len(units))]
        return sum(logs) / len(logs) if logs else -math.log(vocabulary)

    return share, mean


@pytest.mark.parametrize(("unit", "order"), [("word", 1), ("word", 3), ("byte", 2), ("byte", 4)])
@pytest.mark.parametrize("concentration", [0.5, 30.0])
def test_perplexity_is_the_formula_with_exact_counts(unit, order, concentration):
    split, vocabulary = (words, 1 << 22) if unit == "word" else (lambda text: list(text.encode()), 257)
    texts = [*TEXTS, "naïve cat", None]
    _, mean = model([t or "" for t in texts], order, vocabulary, concentration, split)
    scorer = perplexity.learn(corpus_of_texts(texts), unit=unit, order=order, bits=22, concentration=concentration)
    scored_texts = [*texts, "the unseen cat"]
    scores = scorer(frame(scored_texts))["score.perplexity"].to_list()
    assert scores == pytest.approx([mean(t or "") for t in scored_texts], rel=1e-12)


def test_a_case_by_hand():
    """ "a b" once, order 2, concentration 1, bytes: written out. The end of the text is a third unit."""
    scorer = perplexity.learn(corpus_of_texts(["ab"]), unit="byte", order=2, bits=20, concentration=1.0)
    uniform = 1 / 257
    unigram = (1 + uniform) / (3 + 1)  # p_1(a) = p_1(b): each seen once, of two bytes and the end
    bigram = (1 + unigram) / (1 + 1)  # after the start only a was seen, after a only b
    unseen = uniform / 4  # p_1(c); after a, nothing but b: p_2(c | a) = (0 + p_1(c)) / (1 + 1)
    scores = scorer(frame(["ab", "ac"]))["score.perplexity"].to_list()
    assert scores == pytest.approx([math.log(bigram), (math.log(bigram) + math.log(unseen / 2)) / 2], rel=1e-12)


def test_shares_of_all_bytes_sum_to_one():
    texts = ["abcab", "b ca", "aa"]
    scorer = perplexity.learn(corpus_of_texts(texts), unit="byte", order=3, bits=20, concentration=2.0)
    for length in range(4):
        for history in product("abz", repeat=length):
            check_shares(texts, scorer, "".join(history))


def check_shares(texts, scorer, before):
    scored = scorer(frame([before + chr(b) for b in range(128)]))["score.perplexity"].to_numpy()
    base = scorer(frame([before]))["score.perplexity"][0] * len(before) if before else 0.0
    ascii_share = np.exp(scored * (len(before) + 1) - base).sum()
    share, _ = model(texts, 3, 257, 2.0, lambda text: list(text.encode()))
    rest = sum(share([None] * 3 + list(before.encode()), b) for b in [*range(128, 256), "end"])
    assert ascii_share + rest == pytest.approx(1, rel=1e-9)


def test_a_seen_order_of_words_is_more_likely_than_a_shuffled_one():
    rng = np.random.default_rng(0)
    learned_texts = [" ".join(f"w{(i * 7 + j) % 50}" for j in range(60)) for i in range(50)]
    shuffled = [" ".join(rng.permutation(text.split())) for text in learned_texts]
    scorer = perplexity.learn(corpus_of_texts(learned_texts), concentration=1.0)
    in_order, out_of_order = (scorer(frame(t))["score.perplexity"].to_numpy() for t in (learned_texts, shuffled))
    assert in_order.min() > out_of_order.max()


def test_small_tables_still_give_scores():
    scorer = perplexity.learn(corpus_of_texts([f"word{i} other{i}" for i in range(2000)]), bits=10)
    score = scorer(frame(["word1 other1"]))["score.perplexity"][0]
    assert -math.log(1 << 22) < score < 0
    unseen = frame([f"new{i} pair{i}" for i in range(500)])
    assert scorer(unseen)["score.perplexity"].max() < 0, "a k-gram in another's cell is no surer than certain"


def test_perplexity_of_a_target(target):
    scorer = perplexity.learn(corpus_of_texts(["x y z"]), target=target, concentration=1.0)
    scores = scorer(frame(["the cat sat", "x y z"]))["score.perplexity"]
    assert scores[0] > scores[1] + 1


@pytest.mark.parametrize(
    ("texts", "options", "message"),
    [
        (["", None], {}, "the data has 0 words"),
        (["a"], {"unit": "token"}, "unit=token must be word or byte"),
        (["a"], {"order": 0}, "order=0"),
        (["a"], {"concentration": 0}, "concentration=0"),
        (["a"], {"bits": 60}, "bits=60"),
        (["a"], {"max_bits": 9}, "max_bits=9 must be 10 to 32"),
    ],
)
def test_perplexity_names_what_is_wrong(texts, options, message):
    with pytest.raises(SchemaError, match=message) as caught:
        perplexity.learn(corpus_of_texts(texts), **options)
    assert "\n" not in str(caught.value)


# ---------------------------------------------------------------- a job


def test_text_scorers_in_one_job(corpus, tmp_path, target):
    specs = (
        "duplicates:bands=0",
        f"dsir:target={target},normalise=true",
        "perplexity:bits=16",
        "length",
        "compression",
    )
    assert score.score([str(corpus)], specs, tmp_path / "out").rows == 100
    written = pl.read_parquet(tmp_path / "out" / "**" / "*.scores.parquet")
    assert written.height == 100
    texts = pl.read_parquet(corpus / "**" / "*.parquet")
    kept_texts = written.filter(pl.col("score.duplicates") == 1).join(texts, on="id")["text"]
    assert sorted(kept_texts) == sorted(set(texts["text"])), "one of each distinct text, and nothing else"


def test_a_target_that_changed_is_refused_until_restart(corpus, tmp_path, target):
    specs, out = (f"dsir:target={target}",), tmp_path / "out"
    score.score([str(corpus)], specs, out)
    assert score.score([str(corpus)], specs, out).rows == 0
    frame([*LIKED, "another text"]).write_parquet(target)
    with pytest.raises(Interrupted, match="targets changed"):
        score.score([str(corpus)], specs, out)
    assert score.score([str(corpus)], specs, out, restart=True).rows == 100


# ---------------------------------------------------------------- length


def test_length_in_words_or_characters():
    texts = frame(["two words", "", None, " spaced   out text "])
    assert Length()(texts)["score.length"].to_list() == [9, 0, 0, 19]
    assert Length(unit="word")(texts)["score.length"].to_list() == [2, 0, 0, 3]
    with pytest.raises(SchemaError, match="unit=line"):
        Length(unit="line")
