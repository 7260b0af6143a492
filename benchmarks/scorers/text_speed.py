"""Text scorers beside their peers: python benchmarks/scorers/text_speed.py [--megabytes N] [--peers PYTHON]

The first table has MB per CPU-second on real text of this machine: Python's standard library, documentation, copyright
files and manual pages in many languages. Scorer and peer take turns, and each has its best of three. Peers are
py3langid itself, zlib alone, Python's own str methods, and repetition by its definition in plain Python. With --peers,
datatrove's filter of repetition runs in another Python, on a part of the texts. `curate score` is the whole command; a
job with `length` takes little more than the start of the program.

The second table has the quality: the AUC of each language among manual pages, by the scorer and by py3langid, and the
number of ASCII texts whose repetition equals the definition exactly.
"""

import argparse
import gzip
import json
import random
import re
import resource
import subprocess
import sys
import sysconfig
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import polars as pl
from sklearn.metrics import roc_auc_score

from curate.scorers import repetition
from curate.scorers.compression import Compression
from curate.scorers.language import Language
from curate.scorers.length import Length
from curate.scorers.repetition import Repetition
from curate.words import ngrams

MANUALS, DOCUMENTS = Path("/usr/share/man"), Path("/usr/share/doc")
LONGEST = 1_000_000  # bytes of a file
REPEATS = 3
CUTS = (100, 400, 2000)  # characters of a manual page whose language is told
PAGES = 40  # of each language
LEAST_PAGES = 15
DATATROVE = """
import json, sys, time
from datatrove.data import Document
from datatrove.pipeline.filters.gopher_repetition_filter import GopherRepetitionFilter
texts = json.load(open(sys.argv[1]))
repetition = GopherRepetitionFilter()
repetition.filter(Document(text="The first text loads the splitter of words.", id=""))
start = time.process_time()
for text in texts:
    repetition.filter(Document(text=text, id=""))
print(time.process_time() - start)
"""


def manual(path: Path) -> str:
    """The text of a manual page, without the commands of its mark-up."""
    page = gzip.decompress(path.read_bytes()).decode("utf-8")
    return re.sub(r"\\f[A-Z]|\\&|\\", "", re.sub(r"(?m)^[.'].*\n", "", page))


def texts(limit: int) -> Iterator[str]:
    """Yield files in an order that the seed decides, up to ``limit`` bytes of each kind."""
    library = Path(sysconfig.get_paths()["stdlib"])
    kinds = (
        ([p for p in library.rglob("*.py") if "site-packages" not in p.parts], Path.read_text, 0.5),
        (DOCUMENTS.rglob("*"), Path.read_text, 0.25),
        (MANUALS.rglob("man[1-8]/*.gz"), manual, 0.25),
    )
    for paths, read, share in kinds:
        files = sorted(p for p in paths if p.is_file() and p.stat().st_size < LONGEST)
        random.Random(0).shuffle(files)
        size = 0
        while files and size < share * limit:
            try:
                text = read(files.pop())
            except (UnicodeDecodeError, OSError):  # compressed documents
                continue
            size += len(text.encode())
            yield text


def plain_repetition(text: str) -> float:
    """The score of an ASCII text by its definition."""
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    paragraphs = [part.strip() for part in re.split(r"\n{2,}", text) if part.strip()]
    ratios = [0.0]
    for items, count_limit, chars_limit in (
        (lines, repetition.DUPLICATE_LINES, repetition.DUPLICATE_LINE_CHARS),
        (paragraphs, repetition.DUPLICATE_PARAGRAPHS, repetition.DUPLICATE_PARAGRAPH_CHARS),
    ):
        again, seen = [], set()
        for item in items:
            if item in seen:
                again.append(item)
            seen.add(item)
        if items:
            ratios.append(len(again) / len(items) / count_limit)
            ratios.append(sum(map(len, again)) / sum(map(len, items)) / chars_limit)
    words = re.findall(r"\w+", text.lower())
    chars = sum(map(len, words))
    for n in range(2, 11):
        grams = [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
        if n in repetition.TOP_NGRAM_CHARS and grams:
            counts = Counter(grams)
            most = max(counts.values())
            longest = max(sum(map(len, gram)) for gram, count in counts.items() if count == most)
            ratios.append((min(1, most * longest / chars) if most > 1 else 0) / repetition.TOP_NGRAM_CHARS[n])
        if n in repetition.DUPLICATE_NGRAM_CHARS:
            distinct: set[tuple[str, ...]] = set()
            covered: set[int] = set()
            for i, gram in enumerate(grams):
                if gram in distinct:
                    covered.update(range(i, i + n))
                distinct.add(gram)
            share = sum(len(words[i]) for i in covered) / max(1, chars)
            ratios.append(share / repetition.DUPLICATE_NGRAM_CHARS[n])
    return 1 - max(ratios)


def seconds(ways: dict[str, Callable[[], object]]) -> dict[str, float]:
    """CPU-seconds of each way, the best of several turns."""
    best = dict.fromkeys(ways, float("inf"))
    for _ in range(REPEATS):
        for name, run in ways.items():
            start = time.process_time()
            run()
            best[name] = min(best[name], time.process_time() - start)
    return best


def children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def command(path: Path, scorers: list[str], out: Path) -> float:
    """CPU-seconds of `curate score` on a file."""
    named = [word for scorer in scorers for word in ("--scorer", scorer)]
    before = children()
    program = [sys.executable, "-c", "from pipelines.shared.cli import main; main()"]
    words = [*program, "score", str(path), *named, "--out", str(out), "--workers", "1"]
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    return children() - before


def row(name: str, ours: float, peer: str, theirs: float) -> None:
    print(f"{name:14}{ours:10.1f}  {peer:34}{theirs:10.1f}{ours / theirs:9.2f}", flush=True)


def speed(column: list[str], peers: str | None, folder: Path) -> None:
    """Print the table of speeds."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    frame = pl.DataFrame({"text": column})
    sizes = frame["text"].str.len_bytes().cum_sum()
    few = frame[: int((sizes < sizes[-1] / 4).sum()) + 1]  # for slow peers
    names = [f"d{i}" for i in range(len(column))]
    frame.with_columns(pl.Series("id", names)).write_parquet(folder / "texts.parquet")
    print(
        f"{len(column):,} texts, {sizes[-1] / 1e6:.1f} MB, {np.mean([t.isascii() for t in column]):.0%} of them ASCII"
    )
    print(f"\n{'scorer':14}{'MB/CPU-s':>10}  {'peer':34}{'MB/CPU-s':>10}{'ratio':>9}")
    mega, few_mega = sizes[-1] / 1e6, few["text"].str.len_bytes().sum() / 1e6
    few_texts = few["text"].to_list()
    english = Language("en")
    english(frame[:1])
    rows = (
        ("repetition", Repetition(), "its definition in plain Python", lambda: [*map(plain_repetition, few_texts)]),
        ("language", english, "py3langid", lambda: [identifier.rank(text) for text in few_texts]),
    )
    for name, scorer, peer, run in rows:
        best = seconds({"ours": lambda scorer=scorer: scorer(frame), "peer": run})
        row(name, mega / best["ours"], peer, few_mega / best["peer"])
        if name == "repetition" and peers:
            (folder / "texts.json").write_text(json.dumps(few_texts))
            (folder / "peer.py").write_text(DATATROVE)
            arguments = [peers, str(folder / "peer.py"), str(folder / "texts.json")]
            done = subprocess.run(arguments, capture_output=True, text=True, check=True)
            row(name, mega / best["ours"], "datatrove's Gopher filter", few_mega / float(done.stdout.split()[-1]))
    # Files outside ASCII are cut into short texts, where the cost of each text counts most.
    others = [text[i : i + 1000] for text in column if not text.isascii() for i in range(0, len(text), 1000)]
    for name, chosen in (("compression", column), ("  not ASCII", [text for text in others if not text.isascii()])):
        raws, rows_of = [text.encode() for text in chosen], pl.DataFrame({"text": chosen})
        best = seconds(
            {
                "ours": lambda rows_of=rows_of: Compression()(rows_of),
                "peer": lambda raws=raws: [zlib.compress(raw, 6) for raw in raws],
            }
        )
        size = sum(map(len, raws)) / 1e6
        row(name, size / best["ours"], "zlib.compress of the UTF-8", size / best["peer"])
    best = seconds({"ours": lambda: Length(unit="word")(frame), "peer": lambda: [len(t.split()) for t in column]})
    row("length, words", mega / best["ours"], "len(text.split())", mega / best["peer"])
    pattern = re.compile(r"\w+")
    best = seconds(
        {
            "ours": lambda: [ngrams.words(piece) for piece in ngrams.pieces(frame["text"])],
            "peer": lambda: [[*map(hash, pattern.findall(text.lower()))] for text in column],
        }
    )
    row("(words)", mega / best["ours"], "hashes of re.findall", mega / best["peer"])
    print(f"\n{'curate score --workers 1':50}{'CPU-s':>9}{'more than length':>18}")
    scorers = ["length", "compression", "repetition", "language"]
    base = 0.0
    for i, chosen in enumerate([["length"], *([name] for name in scorers[1:]), scorers]):
        used = command(folder / "texts.parquet", chosen, folder / f"out{i}")
        base = base or used
        print(f"{', '.join(chosen):50}{used:9.2f}{used - base:18.2f}", flush=True)


def quality() -> None:
    """Print the AUC of languages and the equality of repetition."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    pages: list[tuple[str, str]] = []
    for folder in sorted([MANUALS, *(p for p in MANUALS.iterdir() if p.is_dir() and not p.name.startswith("man"))]):
        language = "en" if folder == MANUALS else folder.name.split("_")[0]
        paths = sorted(folder.glob("man[1-8]/*.gz"))
        random.Random(0).shuffle(paths)
        taken = [text for text in map(manual, paths[: 2 * PAGES]) if len(text) > CUTS[-1]][:PAGES]
        if len(taken) >= LEAST_PAGES and language in identifier.labels:
            pages += [(language, text) for text in taken]
    labels = np.array([language for language, _ in pages])
    languages = sorted(set(labels))
    print(f"\nlanguage: mean and least AUC of {len(languages)} languages on {len(pages)} manual pages")
    print(f"{'characters':14}{'scorer':>16}{'py3langid':>16}{'largest difference of a score':>32}")
    for cut in CUTS:
        frame = pl.DataFrame({"text": [text[-cut:] for _, text in pages]})
        own = [dict(identifier.rank(text)) for text in frame["text"]]
        ours, theirs, difference = [], [], 0.0
        for language in languages:
            scores = Language(language)(frame)["score.language"].to_numpy()
            expected = np.array([ranks[language] for ranks in own])
            difference = max(difference, float(np.abs(scores - expected).max()))
            ours.append(roc_auc_score(labels == language, scores))
            theirs.append(roc_auc_score(labels == language, expected))
        means = [f"{np.mean(values):.4f} {min(values):.4f}" for values in (ours, theirs)]
        print(f"{cut:<14,}{means[0]:>16}{means[1]:>16}{difference:32.1e}", flush=True)


def equality(column: list[str]) -> None:
    plain = [text for text in column if text.isascii()]
    scores = Repetition()(pl.DataFrame({"text": plain}))["score.repetition"].to_list()
    equal = sum(score == plain_repetition(text) for score, text in zip(scores, plain, strict=True))
    print(f"\nrepetition: {equal:,} of {len(plain):,} ASCII texts score exactly as the definition in plain Python")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--megabytes", type=float, default=8)
    parser.add_argument("--peers", help="a Python with datatrove and spacy")
    arguments = parser.parse_args()
    column = [*texts(int(arguments.megabytes * 1e6))]
    random.Random(0).shuffle(column)
    with tempfile.TemporaryDirectory() as name:
        speed(column, arguments.peers, Path(name))
    quality()
    equality(column)


if __name__ == "__main__":
    main()
