"""Scorers of embeddings, CPU and memory: python benchmarks/scorers/embedding_scorers.py [--rows N] [--peers PYTHON]

Unit vectors of 384 numbers: 1,500 topics of unequal size, each with directions of its own, and noise; 8 % of the
rows are near copies of others. Each way runs in a process of its own, from Parquet files (fixed-size binary), on one
thread. Peers (faiss-cpu, scikit-learn, semhash) run with the Python of an environment where they are; without it they
are left out. Mean cosine: of all rows to the nearest of the centres found, by the same code for all. The last table is
of scikit-learn's handwritten digits: Spearman's correlation of the scores of two seeds, mean and least of 15 pairs.
"""

import argparse
import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
from itertools import combinations, product
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from curate.tables.corpus import Corpus, FramePart

WIDTH, TOPICS, OWN, FILE_ROWS, COPIES = 384, 1500, 24, 50_000, 0.08
START = """
import json, resource, sys, time
from pathlib import Path
import numpy as np
data, out, k = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
used = lambda: sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
more = {}
def vectors():
    import pyarrow.parquet as pq
    files = [pq.ParquetFile(p, pre_buffer=False) for p in sorted(data.glob("*.parquet"))]
    x, row = np.empty((sum(f.metadata.num_rows for f in files), 384), np.float32), 0
    for f in files:
        for b in f.iter_batches(batch_size=4096, columns=["emb.x"]):
            c = b.column(0)
            flat = np.frombuffer(c.buffers()[1], np.float32, len(c) * 384, c.offset * 1536)
            x[row : row + len(c)] = flat.reshape(-1, 384)
            row += len(c)
    return x
def corpus():
    from curate.tables import batches
    from curate.tables.corpus import Corpus, FilePart
    return Corpus([FilePart((shard,)) for shard in batches.shards([str(data)])], out / "work")
def scored(scorer, corpus):
    from dataclasses import replace
    from curate.tables.corpus.array_files import read_arrays
    from curate.tables.corpus.corpus import stored_path
    for part in corpus.parts:
        by_part = getattr(scorer, "part_arrays", ())
        ready = replace(scorer, **read_arrays(stored_path(corpus.folder, part.name))) if by_part else scorer
        for batch in part.batches(scorer.needs):
            yield ready(batch)
"""
END = """
cpu = used() - before
peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
print("\\n" + json.dumps({"cpu": cpu, "peak": int(peak.split()[1]) / 1e3, **more}))
"""
OURS = """
from curate.scorers import prototypes
before = used()
np.save(out / "centres.npy", prototypes.learn(corpus(), k=k, iterations=20, embedding="emb.x").centres)
"""
FAISS = """
import faiss
faiss.omp_set_num_threads(1)
before = used()
x = vectors()
clusters = faiss.Kmeans(384, k, niter=20, spherical=True, seed=1, max_points_per_centroid=1 << 30)
clusters.train(x)
np.save(out / "centres.npy", clusters.centroids)
"""
MINIBATCH = """
from sklearn.cluster import MiniBatchKMeans
before = used()
x = vectors()
clusters = MiniBatchKMeans(k, batch_size=4096, max_iter=20, n_init=1, max_no_improvement=None, random_state=0).fit(x)
np.save(out / "centres.npy", clusters.cluster_centers_)
"""
SEMDEDUP = """
from curate.streaming.vectors.assignment import AssignSettings, split_large
from curate.streaming.vectors.near_copies import ChoiceSettings, choose
from curate.tables.batches import keys
before = used()
rows = corpus()
assigned = split_large(rows, np.load(sys.argv[4]), AssignSettings("emb.x", "semdedup", 0, 0.2 * 0.1**0.5))
settings = ChoiceSettings(0.95, True, "emb.x", "decided", rows.folder, 0)
gone = np.concatenate([part["removed"] for part in choose(rows, assigned, settings)])
np.save(out / "kept.npy", np.concatenate([~np.isin(keys(batch["id"], 0), gone) for batch in rows(())]))
"""
WHOLE = """
from curate.scorers import semdedup
before = used()
rows = corpus()
scorer = semdedup.learn(rows, k=k, embedding="emb.x")
kept = [scores["score.semdedup"].to_numpy() == 1 for scores in scored(scorer, rows)]
np.save(out / "kept.npy", np.concatenate(kept))
"""
REFERENCE = """
before = used()
centres, x = np.load(sys.argv[4]), vectors()
label, near = np.empty(len(x), np.int64), np.empty(len(x), np.float32)
for low in range(0, len(x), 2048):
    cosine = x[low : low + 2048] @ centres.T
    label[low : low + 2048], near[low : low + 2048] = cosine.argmax(axis=1), cosine.max(axis=1)
kept = np.ones(len(x), bool)
order = np.lexsort((near, label))
for rows in np.split(order, np.cumsum(np.bincount(label, minlength=len(centres)))[:-1]):
    if len(rows):
        kept[rows] = np.triu(x[rows] @ x[rows].T, 1).max(axis=0) <= 0.95
np.save(out / "kept.npy", kept)
"""
SEMHASH = """
from semhash import SemHash
class Model:
    def encode(self, texts, **more): raise NotImplementedError
before = used()
x = vectors()[:20_000]
result = SemHash.from_embeddings(x, [f"r{i}" for i in range(len(x))], Model()).self_deduplicate(0.95)
kept = np.zeros(len(x), bool)
kept[[int(r[1:]) for r in result.selected]] = True
np.save(out / "kept.npy", kept)
"""
EACH = """
import importlib
before = used()
name, _, options = sys.argv[5].partition(":")
options = {part.split("=")[0]: int(part.split("=")[1]) for part in options.split(",") if part}
rows = corpus()
scorer = importlib.import_module(f"curate.scorers.{name}").learn(rows, embedding="emb.x", **options)
for scores in scored(scorer, rows):
    pass
"""
KMEANS = {
    "curate prototypes, 20 iterations": (False, OURS),
    "faiss Kmeans, spherical, 20 iterations": (True, FAISS),
    "sklearn MiniBatchKMeans, 20 epochs": (True, MINIBATCH),
}
TWINS = {
    "curate semdedup, in those clusters": (False, SEMDEDUP),
    "curate semdedup, learning them too": (False, WHOLE),
    "blocked NumPy, compared with all": (False, REFERENCE),
    "semhash (usearch), 20,000 rows": (True, SEMHASH),
}

OTHERS = (
    "prototypes:k=64",
    "class_prototypes",
    "density:k=100",
    "moderate",
    "semdedup",
    "coverage",
    "d2",
    "d2:probes=4",
)


def write(folder: Path, rows: int) -> None:
    """Write unit vectors in files of 50,000; ``pairs.npy`` says which row is a near copy of which."""
    rng = np.random.default_rng(0)

    def unit(x: np.ndarray) -> np.ndarray:
        return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)

    centres = unit(
        rng.normal(size=(TOPICS // 30, 1, WIDTH)).repeat(30, 1).reshape(-1, WIDTH) * 0.7
        + rng.normal(size=(TOPICS, WIDTH))
    )
    own = unit(rng.normal(size=(TOPICS * OWN, WIDTH))).reshape(TOPICS, OWN, WIDTH)
    chance = 1 / np.arange(1, TOPICS + 1) ** 0.5
    topic = rng.choice(TOPICS, rows, p=chance / chance.sum())
    copies = np.flatnonzero(rng.random(rows) < COPIES)
    copies = copies[copies > 100]
    originals = rng.integers(0, copies)
    of_copies = np.isin(originals, copies)  # copies of originals only
    copies, originals = copies[~of_copies], originals[~of_copies]
    x = np.empty((rows, WIDTH), np.float32)
    for low in range(0, rows, 4096):
        t = topic[low : low + 4096]
        near = np.einsum("no,nod->nd", rng.normal(size=(len(t), OWN)) / np.sqrt(OWN), own[t])
        x[low : low + 4096] = unit(centres[t] + 0.75 * near + 0.55 * unit(rng.normal(size=(len(t), WIDTH))))
    noise = unit(rng.normal(size=(len(copies), WIDTH)))
    x[copies] = unit(x[originals] + noise * rng.uniform(0.02, 0.3, (len(copies), 1)).astype(np.float32))
    folder.mkdir(parents=True)
    for i, low in enumerate(range(0, rows, FILE_ROWS)):
        part = np.ascontiguousarray(x[low : low + FILE_ROWS])
        column = pa.Array.from_buffers(pa.binary(WIDTH * 4), len(part), [None, pa.py_buffer(part)])
        ids = pa.array([f"r{j}" for j in range(low, low + len(part))])
        more = {"label": topic[low : low + len(part)] % 10, "score.prototypes": rng.random(len(part))}
        pq.write_table(
            pa.table({"id": ids, "emb.x": column, **more}),
            folder / f"{i}.parquet",
            row_group_size=10_000,
            use_dictionary=False,
            compression="none",
        )
    np.save(folder / "pairs.npy", np.stack([originals, copies], axis=1))


def mean_cosine(folder: Path, centres: np.ndarray) -> float:
    """Of all rows to their nearest centre."""
    centres = centres / np.linalg.norm(centres, axis=1, keepdims=True)
    total = rows = 0
    for path in sorted(folder.glob("*.parquet")):
        for batch in pq.ParquetFile(path).iter_batches(batch_size=4096, columns=["emb.x"]):
            flat = np.frombuffer(batch.column(0).buffers()[1], np.float32)
            x = flat.reshape(-1, WIDTH)[batch.column(0).offset :][: batch.num_rows]
            total += float((x @ centres.T).max(axis=1).sum())
            rows += batch.num_rows
    return total / rows


def judged(folder: Path, kept: np.ndarray) -> str:
    """How many of the pairs with cosine over 0.95 lost one of the two, and how many removals were wrong.

    A removal is wrong if no kept row is like it; 500 removals are looked at.
    """
    x = np.concatenate(
        [
            pl.read_parquet(p)["emb.x"].bin.reinterpret(dtype=pl.Array(pl.Float32, WIDTH)).to_numpy()
            for p in sorted(folder.glob("*.parquet"))
        ]
    )[: len(kept)]
    pairs = np.load(folder / "pairs.npy")
    pairs = pairs[(pairs < len(kept)).all(axis=1)]
    pairs = pairs[np.einsum("nd,nd->n", x[pairs[:, 0]], x[pairs[:, 1]]) > 0.95]
    removed = ~kept[pairs].all(axis=1)
    gone = np.random.default_rng(1).permutation(np.flatnonzero(~kept))[:500]
    alone = sum(int(((x[part] @ x[kept].T).max(axis=1) < 0.9499).sum()) for part in np.array_split(gone, 5))
    return f"{removed.mean():8.4f} of {len(pairs):,}{(~kept).sum():9,}{alone:9}"


def ran(python: str, body: str, data: Path, out: Path, *more: object) -> dict[str, float] | str:
    out.mkdir()
    script = out / "way.py"
    script.write_text(START + body + END)
    done = subprocess.run([python, script, data, out, *map(str, more)], capture_output=True, text=True)
    if done.returncode:
        return (done.stderr.strip() or f"ended with {done.returncode}").splitlines()[-1][:100]
    return json.loads(done.stdout.splitlines()[-1])


def agreement() -> None:
    """Print how far the scores of six seeds agree, with one start of k-means and with the best of several."""
    from scipy.stats import spearmanr
    from sklearn.datasets import load_digits

    x = load_digits().data.astype(np.float32)
    rows = pl.DataFrame(
        [pl.Series("id", [f"r{i}" for i in range(len(x))]), pl.Series("emb.x", x, pl.Array(pl.Float32, 64))]
    )
    print(f"\n{'digits, rank agreement of two seeds':42}{'mean':>8}{'least':>9}{'CPU s':>11}", flush=True)
    for name, k, starts in product(("prototypes", "density"), (10, 64), (1, 0)):
        learn, scores, began = importlib.import_module(f"curate.scorers.{name}").learn, [], time.process_time()
        for seed in range(6):
            with tempfile.TemporaryDirectory() as work:
                corpus = Corpus([FramePart("digits", (rows,))], Path(work))
                scorer = learn(corpus, embedding="emb.x", k=k, seed=seed, starts=starts)
            scores.append(scorer(rows)[f"score.{name}"])
        shares = [spearmanr(a, b)[0] for a, b in combinations(scores, 2)]
        cpu = (time.process_time() - began) / len(scores)
        spec = f"{name}:k={k}" + (f",starts={starts}" if starts else "")
        print(f"{spec:42}{np.mean(shares):8.3f}{min(shares):9.3f}{cpu:11.2f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--k", type=int, default=1000)
    parser.add_argument("--peers", help="a Python with faiss and others")
    parser.add_argument("--only", default="")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        data, folder = Path(name) / "docs", Path(name)
        write(data, arguments.rows)
        title = f"k-means, {arguments.rows:,} x {WIDTH}, k={arguments.k}"
        print(f"{title:42}{'CPU s':>8}{'peak MB':>9}{'mean cosine':>13}", flush=True)
        for i, (way, (peer, body)) in enumerate(KMEANS.items()):
            if arguments.only in way and (arguments.peers or not peer):
                usage = ran(arguments.peers if peer else sys.executable, body, data, folder / f"k{i}", arguments.k)
                told = "" if isinstance(usage, str) else mean_cosine(data, np.load(folder / f"k{i}" / "centres.npy"))
                print(line(way, usage) + (f"{told:13.4f}" if told else ""), flush=True)
        title = "cosine over 0.95"
        print(
            f"\n{title:42}{'CPU s':>8}{'peak MB':>9}{'per CPU s':>11}   pairs found   removed  wrong of 500", flush=True
        )
        for i, (way, (peer, body)) in enumerate(TWINS.items()):
            centres = folder / "k0" / "centres.npy"
            if (
                arguments.only in way
                and (arguments.peers or not peer)
                and (centres.exists() or "sys.argv[4]" not in body)
            ):
                usage = ran(
                    arguments.peers if peer else sys.executable, body, data, folder / f"t{i}", arguments.k, centres
                )
                if isinstance(usage, str):
                    print(line(way, usage), flush=True)
                    continue
                kept = np.load(folder / f"t{i}" / "kept.npy")
                print(f"{line(way, usage)}{len(kept) / usage['cpu']:11,.0f}   {judged(data, kept)}", flush=True)
        data = Path(name) / "fewer"
        write(data, arguments.rows // 4)
        print(
            f"\n{f'learn and score {arguments.rows // 4:,} rows':42}{'CPU s':>8}{'peak MB':>9}{'per CPU s':>11}",
            flush=True,
        )
        for i, spec in enumerate(OTHERS):
            if arguments.only in spec:
                usage = ran(sys.executable, EACH, data, folder / f"o{i}", arguments.k, "", spec)
                rate = "" if isinstance(usage, str) else f"{arguments.rows // 4 / usage['cpu']:11,.0f}"
                print(line(spec, usage) + rate, flush=True)
    if arguments.only in "agreement":
        agreement()


def line(way: str, usage: dict[str, float] | str) -> str:
    return f"{way:42}{usage}" if isinstance(usage, str) else f"{way:42}{usage['cpu']:8.1f}{usage['peak']:9.0f}"


if __name__ == "__main__":
    main()
