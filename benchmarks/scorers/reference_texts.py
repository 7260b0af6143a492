"""Texts of a benchmark in the data: CPU time and recall of ``contamination`` and ``duplicates:against=``.

    python benchmarks/scorers/reference_texts.py [--megabytes N] [--peers PYTHON]

The data are files of Python's standard library, and the benchmark is 1,000 paragraphs of 60 to 200 words from Python's
own help texts and from /usr/share/doc. A fifth of the files get one of these paragraphs at a random line. Further rows
are such paragraphs alone: exact copies, copies in capital letters, and copies in which one word in 100, 50, 20 or 10 is
changed, 100 of each kind.

The first table is on the files. A file counts as caught if its score is below 1. Each way runs in one process with one
thread, from Parquet files to the result. "Beyond starting" leaves out the CPU time of ``curate score --scorer length``
for curate, and of reading the rows for the others. The set of tuples is the plain way in Python: ``re`` finds the
words, and each run of 13 is looked up in a set. PYTHON of --peers is an interpreter with datatrove, whose filter stops
at the first n-gram of a text that matches.

The second table is on the rows that are paragraphs alone: how many of each kind score below 1.
"""

import argparse
import os
import re
import resource
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import polars as pl

SEED, PARAGRAPHS, COPIES = 0, 1000, 100
CHANGES = {"exact": 0.0, "in capitals": 0.0, "1 in 100": 0.01, "1 in 50": 0.02, "1 in 20": 0.05, "1 in 10": 0.1}
READ = """
import sys
import pyarrow.parquet as pq
data, benchmark, out = sys.argv[1:]
rows = pq.read_table(data, columns=["id", "text"]).to_pylist()
benchmark = pq.read_table(benchmark)["text"].to_pylist()
caught = []
"""
SET_OF_TUPLES = """
import re
def grams(text):
    words = re.findall(r"\\w+", text.lower())
    return (tuple(words[i:i + 13]) for i in range(len(words) - 12))
known = {gram for text in benchmark for gram in grams(text)}
for row in rows:
    total = matched = 0
    for gram in grams(row["text"]):
        total += 1
        matched += gram in known
    if matched:
        caught.append(row["id"])
"""
DATATROVE = """
import os
import numpy as np
from datatrove.data import Document
from datatrove.pipeline.decont.n_grams import NGramsDecontConfig, NGramsDecontFilter
from datatrove.utils.text import ngrams, simplify_text
os.makedirs(out + ".index")
block = NGramsDecontFilter(out + ".index", NGramsDecontConfig(n_grams=13))
hashes = set()
for text in benchmark:
    words = block.tokenizer.word_tokenize(simplify_text(text, block.config.norm_config))
    hashes.update(block.hash_func(" ".join(gram)) for gram in ngrams(words, 13))
np.array(list(hashes), block.config.hash_config.np_descr).tofile(out + ".index/benchmark.index.hashes")
for row in rows:
    if block.filter(Document(row["text"], row["id"])) is not True:
        caught.append(row["id"])
"""
WRITE = """
open(out, "w").write("\\n".join(caught))
"""


def paragraphs(rng: np.random.Generator) -> list[str]:
    """Return paragraphs that differ from each other."""
    library = Path(sysconfig.get_paths()["stdlib"])
    sources = [library / "pydoc_data" / "topics.py", *sorted(Path("/usr/share/doc").glob("*/copyright"))]
    texts = (path.read_text(encoding="utf-8", errors="replace") for path in sources)
    pieces = {" ".join(piece.split()) for text in texts for piece in re.split(r"\n\s*\n|\\n\\n", text)}
    usable = sorted(piece for piece in pieces if 60 <= len(re.findall(r"\w+", piece)) <= 200)
    return [usable[i] for i in rng.permutation(len(usable))[:PARAGRAPHS]]


def changed(text: str, share: float, rng: np.random.Generator) -> str:
    """Return a text with this share of its words replaced."""
    words = text.split()
    for place in rng.choice(len(words), round(share * len(words)), replace=False).tolist():
        words[place] = f"w{rng.integers(1 << 20)}"
    return " ".join(words)


def write_data(megabytes: float, folder: Path, benchmark: Sequence[str], rng: np.random.Generator) -> float:
    """Write the files with planted paragraphs, and the copies; return the MB of the files."""
    planted = Path(sysconfig.get_paths()["stdlib"])
    files = sorted(path for path in planted.rglob("*.py") if "pydoc_data" not in path.parts)
    rows: list[tuple[str, str]] = []
    size = 0
    for i in rng.permutation(len(files)).tolist():
        if size > megabytes * 1e6:
            break
        lines = files[i].read_text(encoding="utf-8", errors="replace").splitlines()
        kind = "planted" if rng.random() < 0.2 else "clean"
        if kind == "planted":
            lines.insert(int(rng.integers(len(lines) + 1)), benchmark[int(rng.integers(len(benchmark)))])
        rows.append((f"{kind}-{i}", "\n".join(lines)))
        size += len(rows[-1][1].encode())
    copies = [
        (f"{kind}-{i}", changed(text, share, rng).upper() if kind == "in capitals" else changed(text, share, rng))
        for kind, share in CHANGES.items()
        for i, text in enumerate(benchmark[:COPIES])
    ]
    for name, content in (("files", rows), ("copies", copies)):
        (folder / name).mkdir()
        frame = pl.DataFrame(content, schema=["id", "text"], orient="row")
        frame.write_parquet(folder / name / "rows.parquet")
    return size / 1e6


def cpu_seconds(words: Sequence[str]) -> float:
    """Run a command, and return the CPU-seconds that it and its children took."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = os.environ | {"OMP_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1"}
    subprocess.run(words, env=environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return sum(after[:2]) - sum(before[:2])


def score(data: Path, out: Path, *scorers: str) -> float:
    """Score data, and return the CPU-seconds."""
    chosen = [word for scorer in scorers for word in ("--scorer", scorer)]
    start = [sys.executable, "-c", "from pipelines.shared.cli import main; main()"]
    return cpu_seconds([*start, "score", str(data), *chosen, "--workers", "1", "--out", str(out)])


def below_one(out: Path, column: str) -> list[str]:
    """Return the ids of rows with a score below 1."""
    return pl.read_parquet(out / "rows.parquet.scores.parquet").filter(pl.col(column) < 1)["id"].to_list()


def speed(folder: Path, size: float, benchmark: Path, peers: Path | None) -> None:
    """Print CPU time and recall on the files."""
    data = folder / "files"
    names = pl.read_parquet(data / "rows.parquet", columns=["id"])["id"].to_list()
    planted = {name for name in names if name.startswith("planted")}
    print("| way | CPU-s | MB per CPU-s | beyond starting | planted files caught | other files caught |")
    print("|---|---|---|---|---|---|")

    def show(way: str, seconds: float, start: float | None, caught: Sequence[str]) -> None:
        beyond = f"{size / (seconds - start):.1f}" if start is not None else ""
        cells = [f"{len(planted & {*caught})} of {len(planted)}", str(len({*caught} - planted))]
        cells = cells if start is not None else ["", ""]
        print(f"| {way} | {seconds:.2f} | {size / seconds:.1f} | {beyond} | {' | '.join(cells)} |", flush=True)

    start = score(data, folder / "length", "length")
    show("`curate score --scorer length`: starting and reading", start, None, [])
    ways = {"contamination": ("score.contamination", "n=13"), "duplicates": ("score.duplicates", "threshold=0.75")}
    for scorer, (column, option) in ways.items():
        spec = f"{scorer}:against={benchmark},{option}"
        seconds = score(data, folder / scorer, spec)
        show(f"`curate score --scorer {scorer}:against=...`", seconds, start, below_one(folder / scorer, column))
    python = [sys.executable, str(peers or sys.executable)]
    for way, interpreter, code in (
        ("a set of tuples in Python", python[0], SET_OF_TUPLES),
        ("datatrove `NGramsDecontFilter`", python[1], DATATROVE),
    ):
        if code == DATATROVE and peers is None:
            continue
        out = folder / f"{len(way)}.txt"
        arguments = [str(data / "rows.parquet"), str(benchmark), str(out)]
        reading = cpu_seconds([interpreter, "-c", READ + WRITE, *arguments])
        seconds = cpu_seconds([interpreter, "-c", READ + code + WRITE, *arguments])
        show(way, seconds, reading, out.read_text().split("\n"))


def recall(folder: Path, benchmark: Path) -> None:
    """Print how many copies of each kind score below 1."""
    print(f"\n| scorer | {' | '.join(CHANGES)} |\n|---|{'---|' * len(CHANGES)}")
    for number, (column, options) in enumerate(
        (
            ("contamination", ""),
            ("contamination", ",n=8"),
            ("duplicates", ""),
            ("duplicates", ",threshold=0.5"),
            ("duplicates", ",threshold=0.5,bands=30,rows=4"),
            ("duplicates", ",threshold=0.3,bands=40,rows=3"),
        )
    ):
        out = folder / f"copies-{number}"
        score(folder / "copies", out, f"{column}:against={benchmark}{options}")
        caught = below_one(out, f"score.{column}")
        cells = [f"{sum(name.startswith(f'{kind}-') for name in caught) / COPIES:.2f}" for kind in CHANGES]
        print(f"| `{column}:against=...{options}` | {' | '.join(cells)} |", flush=True)


def main() -> None:
    """Measure, and print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=float, default=12.0)
    parser.add_argument("--peers", type=Path)
    options = parser.parse_args()
    rng = np.random.default_rng(SEED)
    texts = paragraphs(rng)
    with TemporaryDirectory() as name:
        folder = Path(name)
        benchmark = folder / "benchmark.parquet"
        pl.DataFrame({"text": texts}).write_parquet(benchmark)
        size = write_data(options.megabytes, folder, texts, rng)
        print(f"{size:.1f} MB, benchmark of {len(texts)} texts, {benchmark.stat().st_size / 1e6:.2f} MB packed\n")
        speed(folder, size, benchmark, options.peers)
        recall(folder, benchmark)


if __name__ == "__main__":
    main()
