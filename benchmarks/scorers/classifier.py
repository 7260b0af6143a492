"""The scorer ``classifier`` beside scikit-learn and fastText, on samples that it must tell apart.

    python benchmarks/scorers/classifier.py [--texts 4000] [--fasttext PYTHON]

Pieces of 500 characters of real text of this machine: Python's standard library against its tests, against installed
packages, and copyright files against other documentation. Half of the pieces are learned from, the other half is
scored. Texts of one file are all in one half. The peer is ``HashingVectorizer`` (words and word pairs, 2^20 buckets)
with ``LogisticRegression`` of the same penalties, chosen by the same held-out texts. fastText (word pairs, 100 numbers
a word, 5 epochs, one thread) runs in another Python where it is installed. CPU-seconds are those of the functions, in
one process on one core.
"""

import argparse
import json
import os
import random
import subprocess
import sysconfig
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"

import numpy as np
import polars as pl
import sklearn
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score

from curate.scorers import _ngram_regression
from curate.words import ngrams

CHARACTERS = 500
PIECES = 10  # of a file at most
BUCKETS = 1 << 20
FASTTEXT = """
import json, sys, time, fasttext
lines, scored = json.load(open(sys.argv[1]))
open(sys.argv[2], "w").writelines(f"__label__{label} {text}\\n" for text, label in lines)
start = time.process_time()
model = fasttext.train_supervised(sys.argv[2], wordNgrams=2, thread=1, verbose=0)
learned = time.process_time()
shares = [dict(zip(*model.predict(text, k=2))).get("__label__1", 0.0) for text in scored]
print(json.dumps([learned - start, time.process_time() - learned, [float(share) for share in shares]]))
"""


def pieces(paths: Sequence[Path], count: int) -> tuple[list[str], list[str]]:
    """Return pieces of files to learn from, and pieces of other files."""
    halves: tuple[list[str], list[str]] = ([], [])
    paths = list(paths)
    random.Random(0).shuffle(paths)
    for number, path in enumerate(paths):
        text = path.read_text(encoding="utf-8", errors="ignore")
        cuts = [text[i : i + CHARACTERS] for i in range(0, len(text), CHARACTERS)]
        halves[number % 2].extend(cut for cut in cuts[:PIECES] if len(cut) > CHARACTERS / 2)
    for half in halves:
        random.Random(1).shuffle(half)
    return halves[0][:count], halves[1][:count]


def tasks() -> dict[str, tuple[list[Path], list[Path]]]:
    library = Path(sysconfig.get_path("stdlib"))
    files = [path for path in sorted(library.rglob("*.py")) if "site-packages" not in path.parts]
    tests = [path for path in files if "test" in path.parts]
    sources = [path for path in files if "test" not in path.parts]
    packages = sorted(Path(sysconfig.get_path("purelib")).rglob("*.py"))[::7]
    documents = [path for path in sorted(Path("/usr/share/doc").glob("*/*")) if path.is_file() and path.suffix != ".gz"]
    rights = [path for path in documents if path.name == "copyright"]
    others = [path for path in documents if path.name != "copyright"]
    return {
        "library, its tests": (sources, tests),
        "library, packages": (sources, packages),
        "copyright, other docs": (rights, others),
    }


def ours(good: list[str], bad: list[str], scored: list[str]) -> tuple[float, float, np.ndarray]:
    start = time.process_time()
    learned = _ngram_regression.learn(pl.Series(good), pl.Series(bad), BUCKETS)
    middle = time.process_time()
    odds = [
        _ngram_regression.evidence(ngrams.words(piece, marks=True), learned.weights)
        for piece in ngrams.pieces(pl.Series(scored))
    ]
    return middle - start, time.process_time() - middle, np.concatenate(odds)


def peer(good: list[str], bad: list[str], scored: list[str]) -> tuple[float, float, np.ndarray]:
    start = time.process_time()
    vectorizer = HashingVectorizer(ngram_range=(1, 2), n_features=BUCKETS, alternate_sign=False)
    held = {name: round(_ngram_regression.HELD_OUT * len(texts)) for name, texts in (("good", good), ("bad", bad))}
    train = vectorizer.transform([*good[: -held["good"]], *bad[: -held["bad"]]])
    labels = [1] * (len(good) - held["good"]) + [0] * (len(bad) - held["bad"])
    choose = vectorizer.transform([*good[-held["good"] :], *bad[-held["bad"] :]])
    models = [
        LogisticRegression(C=penalty, class_weight="balanced", max_iter=200).fit(train, labels)
        for penalty in _ngram_regression.PENALTIES
    ]
    chosen = [1] * held["good"] + [0] * held["bad"]
    best = min(models, key=lambda model: log_loss(chosen, model.predict_proba(choose)[:, 1]))
    middle = time.process_time()
    odds = best.decision_function(vectorizer.transform(scored))
    return middle - start, time.process_time() - middle, odds


def fasttext(python: str, good: list[str], bad: list[str], scored: list[str]) -> tuple[float, float, np.ndarray]:
    def line(text: str) -> str:
        return " ".join(text.split())

    lines = [(line(text), 1) for text in good] + [(line(text), 0) for text in bad]
    random.Random(2).shuffle(lines)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "texts.json"
        path.write_text(json.dumps([lines, [line(text) for text in scored]]))
        run = subprocess.run(
            [python, "-c", FASTTEXT, str(path), str(Path(folder) / "lines.txt")],
            check=True,
            capture_output=True,
            text=True,
        )
    learned, spent, shares = json.loads(run.stdout.splitlines()[-1])
    return learned, spent, np.array(shares)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--texts", type=int, default=4000)
    parser.add_argument("--fasttext", default="")
    arguments = parser.parse_args()
    print(f"scikit-learn {sklearn.__version__}; CPU-seconds; the interval is of 95 %")
    numbers = f"{'AUC':>7}{'interval':>15}{'learn':>8}{'score':>8}{'MB/CPU-s':>10}"
    print(f"{'good, bad':24}{'texts':>7}{'':2}{'classifier':20}{numbers}")
    for name, (good_files, bad_files) in tasks().items():
        (good, scored_good), (bad, scored_bad) = (pieces(paths, arguments.texts) for paths in (good_files, bad_files))
        scored = scored_good + scored_bad
        labels = np.repeat([1, 0], [len(scored_good), len(scored_bad)])
        megabytes = sum(len(text.encode()) for text in scored) / 1e6
        rows = {"this scorer": ours(good, bad, scored), "scikit-learn": peer(good, bad, scored)}
        if arguments.fasttext:
            try:
                rows["fastText"] = fasttext(arguments.fasttext, good, bad, scored)
            except subprocess.CalledProcessError as error:
                print(f"{name:24}{'':9}fastText failed: {error.stderr.strip().splitlines()[-1]}")
        for words, (learned, spent, odds) in rows.items():
            area = roc_auc_score(labels, odds)
            low, high = _ngram_regression.interval(area, len(scored_good), len(scored_bad))
            print(
                f"{name:24}{len(good) + len(bad):7}{'':2}{words:20}{area:7.3f}{f'{low:.3f} - {high:.3f}':>15}"
                f"{learned:8.2f}{spent:8.2f}{megabytes / spent:10.1f}"
            )


if __name__ == "__main__":
    main()
