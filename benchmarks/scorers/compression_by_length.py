"""Does `compression` follow the length of a text?

    python benchmarks/scorers/compression_by_length.py [FOLDER...] [--fit]

The table has a row for each kind of text and a column for each way to measure: Spearman's correlation of score and
length, and MB per CPU-second over the files of the standard library. Texts are Python's standard library (files,
functions, docstrings, the topics of `help`), and where this machine has them copyright files and manual pages in
several languages; FOLDERs of .txt files add to them. "cuts" are runs of a text whose lengths are spread evenly over the
logarithm from 20 to 100,000 characters. With --fit the last line has the constants of the scorer, fitted anew.
"""

import argparse
import ast
import gzip
import math
import random
import re
import sysconfig
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
from scipy.optimize import minimize
from scipy.stats import spearmanr

from curate.scorers import compression

TEXTS = 2000  # of a kind
SHORTEST, LONGEST = 20, 100_000  # characters of a cut
MANUALS = Path("/usr/share/man")
COPYRIGHTS = Path("/usr/share/doc")
LANGUAGES = ("", "de", "fr", "ja", "ru", "zh_CN")


def standard_library() -> dict[str, list[str]]:
    """Files, functions and docstrings of Python's own modules, without tests."""
    files, functions, docstrings = [], [], []
    root = Path(sysconfig.get_paths()["stdlib"])
    for path in sorted(root.rglob("*.py")):
        if {"site-packages", "dist-packages", "test", "tests"} & set(path.parts):
            continue
        try:
            text = path.read_text("utf-8")
            nodes = list(ast.walk(ast.parse(text)))
        except (SyntaxError, UnicodeDecodeError):  # samples for lib2to3
            continue
        files.append(text)
        lines = text.splitlines(keepends=True)
        for node in nodes:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                functions.append("".join(lines[node.lineno - 1 : node.end_lineno]))
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Module):
                docstrings.append(ast.get_docstring(node) or "")
    return {"python files": files, "python functions": functions, "python docstrings": docstrings}


def cuts(texts: list[str]) -> list[str]:
    """Cut every text four times, each time at other places: few texts make few cuts."""
    rng, parts = random.Random(0), []
    for text in texts * 4:
        start = 0
        while start < len(text):
            length = round(math.exp(rng.uniform(math.log(SHORTEST), math.log(LONGEST))))
            parts.append(text[start : start + length])
            start += length
    return parts


def paragraphs(texts: list[str]) -> list[str]:
    return [part for text in texts for part in re.split(r"\n\n+", text)]


def manual(path: Path) -> str:
    """The text of a manual page, without the commands of its mark-up."""
    page = gzip.decompress(path.read_bytes()).decode("utf-8", "replace")
    return re.sub(r"\\f[A-Z]|\\&|\\", "", re.sub(r"(?m)^[.'].*\n", "", page))


def kinds(folders: list[Path]) -> Iterator[tuple[str, list[str]]]:
    """Yield the name of a kind of text, and its texts."""
    from pydoc_data.topics import topics

    yield from standard_library().items()
    help_texts = list(topics.values())
    yield "python help topics", help_texts
    yield "python help, paragraphs", paragraphs(help_texts)
    yield "python help, cuts", cuts(["\n\n".join(help_texts)])
    rights = [path.read_text("utf-8", "replace") for path in sorted(COPYRIGHTS.glob("*/copyright"))]
    if rights:
        yield "copyright files", rights
    for language in LANGUAGES:
        pages = [manual(path) for path in sorted((MANUALS / language).glob("man[1-8]/*.gz"))]
        if pages:
            yield f"manual {language or 'en'}", pages
            yield f"manual {language or 'en'}, cuts", cuts(pages)
    for folder in folders:
        texts = [path.read_text("utf-8", "replace") for path in sorted(folder.rglob("*.txt"))]
        yield f"{folder.name}, paragraphs", paragraphs(texts)
        yield f"{folder.name}, cuts", cuts(texts)


def whole(raw: bytes) -> float:
    """The score until 2026-11-29."""
    return min(1.0, len(zlib.compress(raw, 6)) / len(raw))


def windows(size: int) -> Callable[[bytes], float]:
    """The mean over windows, each compressed alone."""

    def score(raw: bytes) -> float:
        parts = [raw[i : i + size] for i in range(0, len(raw), size)]
        return min(1.0, sum(len(zlib.compress(part, 6, -15)) for part in parts) / len(raw))

    return score


def less_header(raw: bytes) -> float:
    """The whole text, less what a block of DEFLATE writes before its first symbol: about 70 bytes of English."""
    return max(0, len(zlib.compress(raw, 6, -15)) - 70) / len(raw)


def zstd(raw: bytes) -> float:
    """The whole text by zstd."""
    return min(1.0, len(pa.compress(raw, codec="zstd", asbytes=True)) / len(raw))


def fixed_codes(raw: bytes) -> float:
    """A window of 762 bytes and fixed codes, not compared with what texts of that length do."""
    deflate = zlib.compressobj(6, zlib.DEFLATED, -10, 4, zlib.Z_FIXED)
    return (len(deflate.compress(raw)) + len(deflate.flush())) / len(raw)


def expected_power(raw: bytes) -> float:
    """log(ratio) over the log that ordinary texts of that length have, in windows of 512 bytes with DEFLATE's tables.

    Ordinary texts of n bytes keep about (n / 50)^-0.27 of their size.
    """
    count = -(-len(raw) // 512)
    size = -(-len(raw) // count)
    kept = sum(len(zlib.compress(raw[i : i + size], 6, -15)) for i in range(0, len(raw), size)) / len(raw)
    return math.log(kept / 1.2) / (math.log(1.2) + 0.27 * math.log(max(size, 50) / 50))


def wide_window(raw: bytes) -> float:
    """As the scorer, but repeats are found up to 32,506 bytes back; the constants are the best for that window."""
    deflate = zlib.compressobj(6, zlib.DEFLATED, -15, 8, zlib.Z_FIXED)
    compressed = len(deflate.compress(raw)) + len(deflate.flush()) - 2
    return -(1 - compressed / len(raw) + 0.182) / (0.559 * len(raw) / (len(raw) + 779) + 0.182)


WAYS: dict[str, Callable[[bytes], float]] = {
    "whole": whole,
    "windows 4096": windows(4096),
    "windows 512": windows(512),
    "- header": less_header,
    "zstd": zstd,
    "512, power": expected_power,
    "fixed codes": fixed_codes,
    "32 KB": wide_window,
    "UTF-8": lambda raw: compression.share_kept(raw, 6),
    "curate": lambda raw: compression.share_kept(*compression.text_bytes([raw.decode()]), 6),
}


def fitted(samples: dict[str, list[bytes]]) -> tuple[np.ndarray, float]:
    """Constants SAVED, HALF and PRIOR with the smallest sum of fourth powers of the correlations, and the largest."""
    table = []
    for texts in samples.values():
        raw = compression.text_bytes([text.decode() for text in texts])
        lengths = np.array([len(r) for r in raw], float)
        table.append((lengths, np.array([compression.savings(r, 6) for r in raw])))

    def correlations(logs: np.ndarray) -> np.ndarray:
        most, half, prior = np.exp(logs)
        return np.array([spearmanr(-(s + prior) / (most * n / (n + half) + prior), n)[0] for n, s in table])

    start = np.log([compression.SAVED, compression.HALF, compression.PRIOR])
    simplex = start + np.vstack([np.zeros(3), np.eye(3) * 0.5])
    best = minimize(
        lambda x: (correlations(x) ** 4).sum(), start, method="Nelder-Mead", options={"initial_simplex": simplex}
    )
    return np.exp(best.x), float(np.abs(correlations(best.x)).max())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folders", nargs="*", type=Path)
    parser.add_argument("--fit", action="store_true")
    arguments = parser.parse_args()
    samples = {}
    print(f"{'':26}{'texts':>6}{'median':>8}" + "".join(f"{way:>14}" for way in WAYS), flush=True)
    for kind, texts in kinds(arguments.folders):
        texts = [text for text in texts if text.strip()]
        raw = [text.encode() for text in random.Random(0).sample(texts, min(TEXTS, len(texts)))]
        samples[kind] = raw
        lengths = [len(r) for r in raw]
        row = "".join(f"{spearmanr([way(r) for r in raw], lengths)[0]:14.2f}" for way in WAYS.values())
        print(f"{kind:26}{len(raw):6}{np.median(lengths):8.0f}{row}", flush=True)
    files = samples["python files"]
    row = ""
    for way in WAYS.values():
        start = time.process_time()
        for raw in files:
            way(raw)
        row += f"{sum(map(len, files)) / 1e6 / (time.process_time() - start):14.0f}"
    print(f"{'MB per CPU-s':40}{row}")
    if arguments.fit:
        (most, half, prior), worst = fitted(samples)
        print(f"fitted: SAVED {most:.3f}, HALF {half:.0f}, PRIOR {prior:.3f}; largest correlation {worst:.2f}")


if __name__ == "__main__":
    main()
