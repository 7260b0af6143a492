"""Near duplicates of real sources: CPU time and recall, beside rensa and datasketch.

    python benchmarks/scorers/duplicates_of_sources.py [--megabytes N] [--peers FOLDER] [--before FOLDER]
    python benchmarks/scorers/duplicates_of_sources.py --driver

Texts are files of Python's standard library, in an order that is drawn with a seed. 30 % of them get one to three
copies with .2 to 10 % of their words changed, and 3 % an exact copy. All ways use words, 5-grams and 14 bands of 8
rows, each in one process of its own, with one thread. "Beyond starting" leaves out the CPU time of the first row.
``curate`` is measured through its command line, from Parquet files to score files. The peers read the same files and
return links. FOLDER of --peers is where they are installed (``pip install --target FOLDER rensa datasketch``). FOLDER
of --before is the source of another version of curate.

Recall is the share of planted pairs, by their exact similarity, that end in one group. Wrong is the share of linked
pairs whose exact similarity is below .75. With --driver the table shows the share of the CPU time of the process that
starts a job, with 200 parts of synthetic rows and two workers. The last line is the share in parts of 64 MB, from what
the two rows above add for each MB.
"""

import argparse
import json
import os
import re
import resource
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import polars as pl

THRESHOLD, SEED = 0.75, 0
LEVELS = (0.75, 0.85, 0.95, 1.01)
GRAMS = """
import json, re, sys
import polars as pl
def grams(text):
    words = re.findall(r"\\w+", text.lower())
    return list({" ".join(words[i:i + 5]) for i in range(max(1, len(words) - 4))}) if words else []
rows = pl.read_parquet(sys.argv[1] + "/*.parquet", columns=["id", "text"]).iter_rows()
links = []
"""
RENSA = """
from rensa import RMinHash, RMinHashLSH
index, sketches, names = RMinHashLSH(.75, 112, 14), [], []
for name, text in rows:
    sketch = RMinHash(112, 42)
    sketch.update(grams(text))
    links += [(name, names[i]) for i in set(index.query(sketch)) if sketch.jaccard(sketches[i]) >= .75]
    index.insert(len(names), sketch)
    sketches.append(sketch)
    names.append(name)
json.dump(links, open(sys.argv[2], "w"))
"""
DATASKETCH = """
from datasketch import MinHash, MinHashLSH
index, sketches = MinHashLSH(params=(14, 8), num_perm=112), {}
for name, text in rows:
    sketch = MinHash(112)
    sketch.update_batch([gram.encode() for gram in grams(text)])
    links += [(name, other) for other in index.query(sketch) if sketch.jaccard(sketches[other]) >= .75]
    index.insert(name, sketch)
    sketches[name] = sketch
json.dump(links, open(sys.argv[2], "w"))
"""


def planted(megabytes: float, folder: Path) -> tuple[float, dict[str, str], list[tuple[str, str]]]:
    """Write the data as four Parquet files; return their MB, the texts by id, and the planted pairs."""
    rng = np.random.default_rng(SEED)
    paths = sorted(Path(sysconfig.get_paths()["stdlib"]).rglob("*.py"))
    texts: dict[str, str] = {}
    pairs, size = [], 0
    for i in rng.permutation(len(paths)).tolist():
        if size > megabytes * 1e6:
            break
        text = paths[i].read_text(encoding="utf-8", errors="replace")
        versions = [text]
        if rng.random() < 0.3:
            versions += [edited(text, rng) for _ in range(rng.integers(1, 4))]
        elif rng.random() < 0.03:
            versions.append(text)
        names = [f"{i}-{k}" for k in range(len(versions))]
        texts.update(zip(names, versions, strict=True))
        pairs += [(names[0], name) for name in names[1:]]
        size += sum(map(len, versions))
    rows = pl.DataFrame({"id": list(texts), "text": list(texts.values())}).sample(fraction=1, shuffle=True, seed=SEED)
    for part in range(4):
        rows[part::4].write_parquet(folder / f"{part}.parquet")
    return size / 1e6, texts, pairs


def edited(text: str, rng: np.random.Generator) -> str:
    """Return a text with a share of its words changed."""
    words = text.split(" ")
    for place in rng.choice(len(words), max(1, int(len(words) * rng.choice([0.002, 0.01, 0.02, 0.05, 0.1])))):
        words[place] = f"word{rng.integers(1_000_000)}"
    return " ".join(words)


def similarity(first: str, second: str) -> float:
    """Return the exact Jaccard similarity of two texts, by sets of Python."""
    first_grams, second_grams = (
        {tuple(words[i : i + 5]) for i in range(max(1, len(words) - 4))} if words else set()
        for words in (re.findall(r"\w+", text.lower()) for text in (first, second))
    )
    return (
        len(first_grams & second_grams) / len(first_grams | second_grams)
        if first_grams | second_grams
        else float(first == second)
    )


def cpu_seconds(words: Sequence[str], packages: str) -> float:
    """Run a command that imports from the folder ``packages`` first; return its CPU-seconds."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1", "PYTHONPATH": packages}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    quiet = subprocess.DEVNULL
    # Python looks for packages in the folder where it is started, too.
    subprocess.run(words, env=environment, cwd=packages, check=True, stdout=quiet, stderr=quiet)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return sum(after[:2]) - sum(before[:2])


def linked(out: Path, texts: Iterable[str]) -> list[tuple[str, str]]:
    """Return the pairs of ids that curate linked."""
    from curate.tables.batches import keys

    ids = list(texts)
    names = dict(zip(keys(ids, 0).tolist(), ids, strict=True))
    links = []
    for path in (out / "_curate" / "duplicates" / "links").glob("*.npz"):
        with np.load(path) as stored:
            links += list(zip(stored["first"].tolist(), stored["second"].tolist(), strict=True))
    return [(names[first], names[second]) for first, second in links]


def quality(links: Sequence[tuple[str, str]], texts: dict[str, str], pairs: dict[tuple[str, str], float]) -> list[str]:
    """Return the recall of planted pairs at each level of similarity, and the share of wrong links."""
    group = {name: name for name in texts}

    def root(name: str) -> str:
        while group[name] != name:
            name = group[name]
        return name

    for first, second in links:
        group[root(second)] = root(first)
    cells = []
    for low, high in zip(LEVELS[:-1], LEVELS[1:], strict=True):
        chosen = [pair for pair, level in pairs.items() if low <= level < high]
        cells.append(f"{np.mean([root(a) == root(b) for a, b in chosen]):.3f} of {len(chosen)}")
    wrong = [similarity(texts[a], texts[b]) < THRESHOLD for a, b in links if texts[a] != texts[b]]
    return [*cells, f"{np.mean(wrong):.3f} of {len(wrong)}"]


def compare(megabytes: float, peers: Path | None, before: Path | None) -> None:
    """Print CPU time and recall of each way."""
    with TemporaryDirectory() as folder:
        data, out = Path(folder, "data"), Path(folder, "out")
        data.mkdir()
        size, texts, planted_pairs = planted(megabytes, data)
        pairs = {pair: similarity(texts[pair[0]], texts[pair[1]]) for pair in planted_pairs}
        print(f"{len(texts)} texts, {size:.1f} MB\n")
        print("| way | CPU-s | MB per CPU-s | beyond starting | J .75-.85 | .85-.95 | .95-1 | wrong |")
        print("|---|---|---|---|---|---|---|---|")
        start: float | None = None
        tool = [sys.executable, "-c", "from pipelines.shared.cli import main; main()", "score", str(data)]
        root = str(Path(__file__).parents[2])
        ways: dict[str, tuple[Sequence[str], str]] = {
            "`curate score --scorer length`, reading and starting": ([*tool, "--scorer", "length"], root),
            "`curate score --scorer duplicates`": ([*tool, "--scorer", "duplicates"], root),
        }
        if before:
            ways["the version before"] = ([*tool, "--scorer", "duplicates"], str(before))
        for name, code in (("rensa", RENSA), ("datasketch", DATASKETCH)) if peers else ():
            script = [sys.executable, "-c", GRAMS + code, str(data), str(out / f"{name}.json")]
            ways[name] = (script, f"{peers}")
        for number, (way, (words, path)) in enumerate(ways.items()):
            target = out / str(number)
            target.mkdir(parents=True)
            extra = ["--workers", "1", "--out", str(target)] if "score" in words else []
            seconds = cpu_seconds([*words, *extra], path)
            cells = ["", "", "", ""]
            if (out / f"{way}.json").exists():
                cells = quality(json.loads((out / f"{way}.json").read_text()), texts, pairs)
            elif (target / "_curate" / "duplicates").exists():
                cells = quality(linked(target, texts), texts, pairs)
            ours = start is not None and "score" in words
            beyond = f"{size / (seconds - start):.1f}" if ours else ""
            start = start or seconds
            print(f"| {way} | {seconds:.2f} | {size / seconds:.1f} | {beyond} | {' | '.join(cells)} |", flush=True)


def driver(parts: int = 200, sizes: Sequence[int] = (50, 900)) -> None:
    """Print the share of the CPU time of the process that starts the job."""
    from curate.engines.local import Local
    from curate.scorers import duplicates
    from curate.tables.corpus import Corpus, FilePart
    from curate.tables.shards import Shard

    rng = np.random.default_rng(SEED)
    vocabulary = np.array([f"w{i:x}" for i in rng.integers(0, 1 << 30, 20_000)])
    print(f"\n{parts} parts\n\n| rows | MB | CPU-s of the driver | of the workers | share |\n|---|---|---|---|---|")
    measured = []
    for rows in sizes:
        with TemporaryDirectory() as folder, Local(2).session() as workers:
            size, files = 0, []
            for part in range(parts):
                # Every fourth text of a part has a near copy in the next part.
                words = rng.integers(0, vocabulary.size, (rows, 150))
                if part:
                    words[: rows // 4] = previous[rows - rows // 4 :]  # noqa: F821
                    words[: rows // 4, rng.integers(0, 150, 2)] = 0
                previous = words  # noqa: F841
                texts = [" ".join(line) for line in vocabulary[words].tolist()]
                path = Path(folder, f"{part}.parquet")
                pl.DataFrame({"id": [f"{part}-{i}" for i in range(rows)], "text": texts}).write_parquet(path)
                files.append(FilePart((Shard(path, path.name),)))
                size += sum(map(len, texts))
            # The workers are started before, since that does not depend on the data.
            list(workers.run(abs, range(2)))
            corpus = Corpus(files, Path(folder, "work"), workers)
            started, spent = time.process_time(), _of_children()
            duplicates.learn(corpus)
            own, theirs = time.process_time() - started, _of_children() - spent
        measured.append((size / 1e6, own, theirs))
        print(
            f"| {parts * rows} | {size / 1e6:.1f} | {own:.2f} | {theirs:.2f} | {own / (own + theirs):.4f} |", flush=True
        )
    (small, own_small, theirs_small), (large, own_large, theirs_large) = measured
    more = 64 * parts - large
    own = own_large + more * max(0.0, own_large - own_small) / (large - small)
    theirs = theirs_large + more * (theirs_large - theirs_small) / (large - small)
    print(f"| in parts of 64 MB | {64 * parts} | {own:.1f} | {theirs:.1f} | {own / (own + theirs):.4f} |")


def _of_children() -> float:
    """Return the CPU-seconds of the processes that this process started, and that still run."""
    ticks = os.sysconf("SC_CLK_TCK")
    seconds = 0.0
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rsplit(")", 1)[1].split()
        except OSError:  # a process that has just ended
            continue
        if int(fields[1]) == os.getpid():
            seconds += (int(fields[11]) + int(fields[12])) / ticks
    return seconds


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=float, default=15.0)
    parser.add_argument("--peers", type=Path)
    parser.add_argument("--before", type=Path)
    parser.add_argument("--driver", action="store_true")
    options = parser.parse_args()
    if options.driver:
        driver()
    else:
        compare(
            options.megabytes, options.peers and options.peers.resolve(), options.before and options.before.resolve()
        )
