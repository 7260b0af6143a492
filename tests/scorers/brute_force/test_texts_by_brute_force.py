"""Scorers of texts and of predictions as jobs over several parts, against brute force from their definitions."""

import math
import re
from collections import Counter
from fractions import Fraction
from itertools import combinations, pairwise

import numpy as np
import pytest
import xxhash
from learned_job import CLASSES, ROWS, column, folder, rows, scored, target

NULL_PERPLEXITY = -math.log(1 << 22)
START, END = "<start>", "<end>"


def words(text, marks):
    """Lower-cased words, and runs of punctuation if ``marks``; the texts are ASCII."""
    return re.findall(r"\w+|[^\w\s]+" if marks else r"\w+", (text or "").lower())


# ---------------------------------------------------------------- duplicates


def similarity(first, second):
    """The Jaccard similarity of two texts: of their 5-grams, of which a shorter text has one, all its words."""
    if None in (first, second):
        return 0.0
    if first == second:
        return 1.0
    a, b = ({tuple(w[i : i + 5]) for i in range(max(1, len(w) - 4))} for w in (words(first, 0), words(second, 0)))
    return 0.0 if {()} in (a, b) else len(a & b) / len(a | b)


def merged_at(texts, ids, threshold):
    """The largest similarity at which a text is in a group with a representative that has a smaller hash."""
    key = [xxhash.xxh3_64_intdigest(name.encode(), 0) for name in ids]
    pairs = [(similarity(texts[i], texts[j]), i, j) for i, j in combinations(range(len(texts)), 2)]
    group, level = list(range(len(texts))), [0.0] * len(texts)
    for value, i, j in sorted(pairs, reverse=True):
        if value < threshold:
            break
        kept, removed = sorted((group[i], group[j]), key=key.__getitem__)
        if kept != removed:
            # The representative of the second group represents no group any more.
            level[removed] = value
            group = [kept if g == removed else g for g in group]
    return np.array(level)


@pytest.mark.parametrize("threshold", [0.75, 0.8])
def test_duplicates_are_single_linkage_over_all_pairs(threshold):
    scores = column("score.duplicates")
    if threshold != 0.75:
        spec = f"duplicates:bands=64,rows=4,threshold={threshold}"
        scores = scored("duplicates", spec)["score.duplicates"].to_numpy()
    level = merged_at(rows()["text"].to_list(), rows()["id"].to_list(), threshold)
    assert scores.tolist() == (1 - level).tolist()
    assert (level == 1).sum() > 5 and len(np.unique(level)) > 2


# ---------------------------------------------------------------- n-grams


def counted(texts):
    """How often each word and each pair of words occurs."""
    return Counter(gram for text in texts for gram in grams(text))


def grams(text):
    units = words(text, marks=True)
    return [*((unit,) for unit in units), *pairwise(units)]


@pytest.mark.parametrize(("smoothing", "mean"), [(1.0, False), (0.25, True), (0.0, False)])
def test_dsir_is_the_sum_of_log_ratios(smoothing, mean):
    buckets = 1 << 22
    scores = column("score.dsir")
    if smoothing != 1:
        options = f"buckets={buckets},smoothing={smoothing},normalise={str(mean).lower()}"
        scores = scored(f"dsir-{smoothing}", f"dsir:target={folder() / 'target'},{options}")["score.dsir"].to_numpy()
    texts = rows()["text"].to_list()
    liked, data = counted(target()["text"]), counted(texts)

    def log_share(counts, gram):
        share = (counts[gram] + smoothing) / (counts.total() + smoothing * buckets)
        return math.log(share if smoothing else share + 1e-8)

    ratios = {gram: log_share(liked, gram) - log_share(data, gram) for gram in data}
    sums = [math.fsum(ratios[gram] for gram in grams(text)) for text in texts]
    if mean:
        sums = [value / max(1, len(grams(text))) for value, text in zip(sums, texts, strict=True)]
    assert scores == pytest.approx(sums, abs=1e-9)
    assert np.ptp(scores) > 0.1


def hierarchical(texts, order, concentration, vocabulary):
    """Score each text by the recursion of MacKay and Peto with exact counts.

    k - 1 starts stand before a text and one end after it. The end is counted and not scored.
    """
    counts, contexts = Counter(), Counter()
    for text in filter(None, texts):
        padded = [START] * (order - 1) + text + [END]
        for place in range(order - 1, len(padded)):
            for k in range(1, order + 1):
                context = tuple(padded[place - k + 1 : place])
                counts[context, padded[place]] += 1
                contexts[context, k] += 1
    scores = []
    for text in texts:
        padded = [START] * (order - 1) + text
        total = 0.0
        for place in range(order - 1, len(padded)):
            share = 1 / vocabulary
            for k in range(1, order + 1):
                context = tuple(padded[place - k + 1 : place])
                share = (counts[context, padded[place]] + concentration * share) / (
                    contexts[context, k] + concentration
                )
            total += math.log(share)
        scores.append(total / len(text) if text else -math.log(vocabulary))
    return scores


@pytest.mark.parametrize(
    ("spec", "order", "concentration"), [("", 3, 30.0), ("order=2,concentration=2", 2, 2.0), ("order=1", 1, 30.0)]
)
def test_perplexity_is_the_recursion_with_exact_counts(spec, order, concentration):
    scores = column("score.perplexity")
    if spec:
        scores = scored(f"perplexity-{order}", f"perplexity:bits=22,{spec}")["score.perplexity"].to_numpy()
    texts = [words(text, marks=True) for text in rows()["text"]]
    assert scores == pytest.approx(hierarchical(texts, order, concentration, 1 << 22), abs=1e-9)


def test_perplexity_of_bytes_and_of_a_target():
    spec = f"perplexity:bits=22,unit=byte,order=2,target={folder() / 'target'}"
    scores = scored("perplexity-bytes", spec)["score.perplexity"].to_numpy()
    liked = [list(text.encode()) for text in target()["text"]]
    texts = [list((text or "").encode()) for text in rows()["text"]]
    # Texts that were not learned from add no counts, so they are scored one by one after those of the target.
    expected = hierarchical_of_target(liked, texts)
    assert scores == pytest.approx(expected, abs=1e-9)


def hierarchical_of_target(liked, texts):
    """As `hierarchical` with pairs of bytes, counted in other texts than those that are scored."""
    singles = Counter(unit for text in liked for unit in (*text, END))
    pairs = Counter(pair for text in liked for pair in zip((START, *text), (*text, END), strict=True))
    befores = Counter(unit for text in liked for unit in (START, *text))
    scores = []
    for text in texts:
        total = 0.0
        for before, unit in zip((START, *text), text, strict=False):
            share = (singles[unit] + 30 / 257) / (singles.total() + 30)
            total += math.log((pairs[before, unit] + 30 * share) / (befores[before] + 30))
        scores.append(total / len(text) if text else -math.log(257))
    return scores


# ---------------------------------------------------------------- predictions


@pytest.mark.parametrize("by", ["margin", "self_confidence"])
def test_label_quality_is_confident_learning_in_fractions(by):
    scores = {name: column(name) for name in ("score.label_quality", "score.label_joint")}
    if by != "margin":
        frame = scored("confidence", "label_quality:epochs=0+1,logits=false,by=self_confidence")
        scores = {name: frame[name].to_numpy() for name in scores}
    both = [rows()[f"probs.{epoch}"].to_list() for epoch in (0, 1)]
    p = [[(Fraction(a) + Fraction(b)) / 2 for a, b in zip(*pair, strict=True)] for pair in zip(*both, strict=True)]
    label = rows()["label"].to_list()
    threshold = [Fraction(sum(p[i][c] for i in range(ROWS) if label[i] == c), label.count(c)) for c in range(CLASSES)]
    quality, joint = [], []
    for row, own in zip(p, label, strict=True):
        best_other = max(value for c, value in enumerate(row) if c != own)
        quality.append(float(row[own] - best_other if by == "margin" else row[own]))
        confident = [c for c in range(CLASSES) if row[c] >= threshold[c]]
        # Of equally likely classes the first is taken.
        joint.append(float(not confident or max(confident, key=row.__getitem__) == own))
    assert scores["score.label_quality"].tolist() == quality
    assert scores["score.label_joint"].tolist() == joint
    assert 0 < sum(joint) < ROWS
