"""Texts of the packages of this machine: data with the junk that occurs in them, and two clean kinds of text.

In: a size. Out: JSON lines, a folder for each kind of text, and for prose and for code a file of examples and a target.
Scorers learn from the examples, losses are measured on the targets, and no file is in both or in the data.
"""

import gzip
import json
import random
import sysconfig
from collections.abc import Iterator, Sequence
from pathlib import Path

LONGEST, SHORTEST = 5_000, 50  # characters of a row: long files are cut at a line, and shorter pieces are no texts
FILE_ROWS = 4_000
HELD_OUT = 10  # one in so many files of documentation is an example, and as many are targets
EXAMPLE_BYTES = 300_000  # of each kind
# Of each kind. All ways are measured on the same texts, so their choice does not blur the differences.
TARGET_BYTES = 100_000
SHARE = {"documents": 0.2, "code": 0.25, "headers": 0.1, "changes": 0.15, "licences": 0.15, "web": 0.1, "tables": 0.05}
CLEAN = ("prose", "code")


def write(folder: Path, size: float) -> None:
    """Write ``data``, which has a folder for each kind of text, ``examples`` and ``targets`` below ``folder``."""
    packages, library = Path(sysconfig.get_paths()["purelib"]), Path(sysconfig.get_paths()["stdlib"])
    share = Path("/usr/share")
    documents = sorted([*files(packages, "*.rst", "*.md", "METADATA"), *files(share, "*.rst", "*.md")])
    kinds = {
        "documents": [path for path in documents if place(path, HELD_OUT) > 1],
        "code": files(packages, "*.py"),
        "headers": files(packages, "*.h", "*.hpp", "*.c", "*.f90", "*.pyx"),
        "changes": files(share / "doc", "changelog*.gz", "NEWS*.gz"),
        "licences": files(share / "doc", "copyright"),
        "web": [
            *files(packages, "*.js", "*.css", "*.html", "*.svg"),
            *files(share, "*.js", "*.html", "*.xml", "*.svg"),
        ],
        "tables": [*files(packages, "*.csv", "*.json"), *files(share, "*.csv", "*.json", "*.cmake")],
    }
    for kind, paths in kinds.items():
        rows = list(limited(pieces(shuffled(paths)), size * SHARE[kind]))
        for number, start in enumerate(range(0, len(rows), FILE_ROWS)):
            save(folder / "data" / kind / f"{number:03d}.jsonl", rows[start : start + FILE_ROWS])
    standard = [path for path in files(library, "*.py") if not {"site-packages", "test", "tests"} & set(path.parts)]
    clean = {
        "prose": [[path for path in documents if place(path, HELD_OUT) == part] for part in (0, 1)],
        "code": [[path for path in standard if place(path, 2) == part] for part in (0, 1)],
    }
    for kind, (examples, target) in clean.items():
        save(folder / "examples" / f"{kind}.jsonl", list(limited(pieces(shuffled(examples)), EXAMPLE_BYTES)))
        save(folder / "targets" / f"{kind}.jsonl", list(limited(pieces(shuffled(target)), TARGET_BYTES)))


def place(path: Path, count: int) -> int:
    """Return a number below ``count``, by the name: near copies of a page in two packages mostly have the same."""
    return sum(path.name.encode()) % count


def files(folder: Path, *patterns: str) -> list[Path]:
    """Return the files below a folder that match a pattern, sorted."""
    return sorted({path for pattern in patterns for path in folder.rglob(pattern) if path.is_file()})


def shuffled(paths: Sequence[Path]) -> list[Path]:
    """Return paths in a random order that is the same in every call."""
    return random.Random(0).sample(list(paths), len(paths))


def pieces(paths: Sequence[Path]) -> Iterator[str]:
    """Yield the texts of files, cut where they are long."""
    for path in paths:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        text = content.decode("utf-8", errors="replace")
        start = 0
        while start < len(text):
            # A line that is longer than a row is cut inside.
            line_end = text.rfind("\n", start, start + LONGEST) + 1
            end = line_end if start + LONGEST < len(text) and line_end > start else start + LONGEST
            if len(piece := text[start:end]) >= SHORTEST:
                yield piece
            start = end


def limited(texts: Iterator[str], size: float) -> Iterator[str]:
    """Yield texts until they have so many bytes."""
    total = 0
    for text in texts:
        if total >= size:
            return
        total += len(text.encode())
        yield text


def save(path: Path, texts: Sequence[str]) -> None:
    """Write texts as JSON lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
