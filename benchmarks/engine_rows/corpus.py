"""Write a data set of real paragraphs with planted duplicates, the same for the same seed.

In: text that this machine has, and folders that the user names. Out: Parquet and JSONL files, and a table of what was
planted. Paragraphs are drawn with replacement, so that a data set of any size has the statistics of real text. Every
tenth text is an exact copy of an earlier one, and every tenth a copy in which 0.2 to 4 % of the words are changed.
"""

import gettext
import json
import random
import re
import sysconfig
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

EXACT, NEAR = 0.1, 0.1  # shares of texts that are exact and near copies
# Share of the words of a near copy that are changed. Where 3 % differ, the sets of 5-grams have a Jaccard similarity of
# about 0.75, the threshold of the scorer.
LEAST, MOST = 0.002, 0.04
PARAGRAPH = range(200, 4000)  # characters; shorter ones are headings, longer ones are tables
SOURCE_BYTES = 20 << 20  # of text that is read from each source, so that one does not drown the others
FILE_BYTES = 16 << 20  # of text in a file
RECENT = 10_000  # texts that may be copied
MB = 1 << 20


@dataclass(frozen=True)
class Corpus:
    """A data set on disk: the folder of its files, the table of what was planted, and its bytes of text."""

    folder: Path
    planted: Path
    bytes: int


def sources(extra: Sequence[Path]) -> dict[str, list[str]]:
    """Return the paragraphs of each source that this machine has, and of the folders ``extra``."""
    library = Path(sysconfig.get_paths()["stdlib"])
    packages = Path(sysconfig.get_paths()["purelib"])
    places: dict[str, Callable[[], Iterator[Path]]] = {
        "python": lambda: (path for path in library.rglob("*.py") if "site-packages" not in path.parts),
        "packages": lambda: packages.rglob("*.py"),
        "licences": lambda: Path("/usr/share/doc").glob("*/copyright"),
        "documents": lambda: (p for kind in ("*.md", "*.rst", "*.txt") for p in packages.rglob(kind)),
        **{path.name: lambda path=path: (p for p in path.rglob("*") if p.is_file()) for path in extra},
    }
    texts = {name: _paragraphs(files()) for name, files in places.items()}
    return {name: paragraphs for name, paragraphs in texts.items() if paragraphs}


def translations() -> dict[str, list[str]]:
    """Return texts in many languages: the translated messages of programs of this machine, 10 to a text."""
    languages: dict[str, list[str]] = {}
    for path in sorted(Path("/usr/share").rglob("LC_MESSAGES/*.mo")):
        try:
            with path.open("rb") as handle:
                # gettext has no public way to list all messages.
                catalogue = gettext.GNUTranslations(handle)._catalog
        except (UnicodeDecodeError, IndexError):
            continue  # a few programs write messages in an encoding that they do not name, or a header without values
        messages = [text for text in catalogue.values() if isinstance(text, str) and len(text) > 30]
        texts = [" ".join(messages[i : i + 10]) for i in range(0, len(messages) - 9, 10)]
        languages.setdefault(path.parts[-3].split("_")[0].split(".")[0], []).extend(texts)
    return languages


def _paragraphs(paths: Iterator[Path]) -> list[str]:
    paragraphs: list[str] = []
    size = 0
    for path in sorted(paths):
        if size >= SOURCE_BYTES:
            break
        text = path.read_text(encoding="utf-8", errors="replace")
        pieces = [piece for piece in text.split("\n\n") if len(piece) in PARAGRAPH]
        paragraphs += pieces
        size += sum(map(len, pieces))
    return paragraphs


def texts(paragraphs: dict[str, list[str]], size: int, seed: int) -> Iterator[tuple[str, str, int, float]]:
    """Yield texts with their source, the number of the text that each copies (-1: none), and the share of new words."""
    rng = random.Random(seed)
    names, earlier, written, number = sorted(paragraphs), [], 0, 0
    words = sorted({word for name in names for text in paragraphs[name][:200] for word in re.findall(r"\w+", text)})
    while written < size:
        draw = rng.random()
        if draw < EXACT + NEAR and earlier:
            original, source, text = rng.choice(earlier)
            changed = 0.0 if draw < EXACT else rng.uniform(LEAST, MOST)
            text = _changed(text, changed, words, rng) if changed else text
        else:
            source = rng.choice(names)
            text = "\n\n".join(rng.choices(paragraphs[source], k=rng.randint(1, 8)))
            original, changed = -1, 0.0
            # Copies are taken of the last RECENT texts, so that memory does not grow with the data set.
            if len(earlier) < RECENT:
                earlier.append((number, source, text))
            else:
                earlier[number % RECENT] = (number, source, text)
        yield text, source, original, changed
        written += len(text.encode())
        number += 1


def _changed(text: str, share: float, words: Sequence[str], rng: random.Random) -> str:
    # Every second piece is a word.
    pieces = re.split(r"(\w+)", text)
    count = len(pieces) // 2
    for place in rng.sample(range(count), min(count, max(1, round(share * count)))):
        pieces[2 * place + 1] = rng.choice(words)
    return "".join(pieces)


def write(folder: Path, paragraphs: dict[str, list[str]], size: int, seed: int = 0) -> Corpus:
    """Write a data set of ``size`` bytes of text as Parquet and JSONL files in turn."""
    data = folder / "data"
    data.mkdir(parents=True)
    rows: list[tuple[str, str, str]] = []
    planted: list[tuple[str, str, float]] = []
    held = total = files = 0
    for number, (text, source, original, changed) in enumerate(texts(paragraphs, size, seed)):
        rows.append((f"d{number}", source, text))
        if original >= 0:
            planted.append((f"d{number}", f"d{original}", changed))
        held += (length := len(text.encode()))
        total += length
        if held >= FILE_BYTES:
            _write_file(data / f"{files:04d}", rows, lines=files % 2 == 1)
            rows, held, files = [], 0, files + 1
    if rows:
        _write_file(data / f"{files:04d}", rows, lines=files % 2 == 1)
    path = folder / "planted.parquet"
    pl.DataFrame(planted, schema=["id", "original", "changed"], orient="row").write_parquet(path)
    return Corpus(data, path, total)


def write_small(folder: Path, paragraphs: dict[str, list[str]], files: int, seed: int = 0) -> Corpus:
    """Write ``files`` small files of about 10 kB and one to three rows, Parquet and JSONL in turn."""
    rng, total = random.Random(seed), 0
    data = folder / "data"
    every = [text for name in sorted(paragraphs) for text in paragraphs[name]]
    for number in range(files):
        rows = []
        for row in range(count := 1 + number % 3):
            text = ""
            while len(text) < 10_000 // count:
                text += rng.choice(every) + "\n\n"
            rows.append((f"{number}-{row}", "small", text))
            total += len(text.encode())
        # A folder of 10,000 files is rare; data sets have some hundred in each.
        place = data / f"{number // 500:03d}"
        place.mkdir(parents=True, exist_ok=True)
        _write_file(place / f"{number:05d}", rows, lines=number % 2 == 1)
    return Corpus(data, folder / "none", total)


def _write_file(path: Path, rows: Sequence[tuple[str, str, str]], *, lines: bool) -> None:
    names = ("id", "source", "text")
    if lines:
        body = "".join(json.dumps(dict(zip(names, row, strict=True))) + "\n" for row in rows)
        path.with_suffix(".jsonl").write_text(body, encoding="utf-8")
    else:
        columns = dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))
        pq.write_table(pa.table(columns), path.with_suffix(".parquet"), row_group_size=4096, compression="zstd")
