"""Scorers of embeddings, CPU seconds and peak memory: python benchmarks/embedding_scorers.py [--rows N] [--peers PYTHON]

Unit vectors of 384 numbers from 3,000 topics of unequal size, each in a few directions of its own, with noise; 8 % of the
rows are near copies of others. Each way runs in a process of its own, from Parquet files (fixed-size binary), on one
thread. Peers (faiss-cpu, scikit-learn, semhash) run with the Python of an environment where they are; without it they
are left out. Mean cosine: of all rows to the nearest of the centres found, by the same code for all.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

WIDTH, TOPICS, OWN, FILE_ROWS, COPIES = 384, 3000, 24, 50_000, 0.08
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
    x, at = np.empty((sum(f.metadata.num_rows for f in files), 384), np.float32), 0
    for f in files:
        for b in f.iter_batches(batch_size=4096, columns=["emb.x"]):
            c = b.column(0)
            flat = np.frombuffer(c.buffers()[1], np.float32, len(c) * 384, c.offset * 1536)
            x[at : at + len(c)] = flat.reshape(-1, 384)
            at += len(c)
    return x
def stream(needs):
    from curate import tables
    for shard in tables.shards([str(data)]):
        yield from tables.batches(shard, needs)
"""
END = """
cpu = used() - before
peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
print("\\n" + json.dumps({"cpu": cpu, "peak": int(peak.split()[1]) / 1e3, **more}))
"""
OURS = """
from curate.scorers import prototypes
before = used()
np.save(out / "centres.npy", prototypes.learn(stream, k=k, iterations=20, start="sample", embedding="emb.x").centres)
"""
FAISS = """
import faiss
faiss.omp_set_num_threads(1)
before = used()
x = vectors()
found = faiss.Kmeans(384, k, niter=20, spherical=True, seed=1, max_points_per_centroid=1 << 30)
found.train(x)
np.save(out / "centres.npy", found.centroids)
"""
MINIBATCH = """
from sklearn.cluster import MiniBatchKMeans
before = used()
x = vectors()
found = MiniBatchKMeans(k, batch_size=4096, max_iter=20, n_init=1, max_no_improvement=None, random_state=0).fit(x)
np.save(out / "centres.npy", found.cluster_centers_)
"""
KMEANS = {
    "curate prototypes, 20 iterations": (False, OURS),
    "faiss Kmeans, spherical, 20 iterations": (True, FAISS),
    "sklearn MiniBatchKMeans, 20 epochs": (True, MINIBATCH),
}


def write(folder: Path, rows: int) -> None:
    """Write unit vectors in files of 50,000; ``pairs.npy`` says which row is a near copy of which."""
    rng = np.random.default_rng(0)
    unit = lambda x: (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)
    centres = unit(
        rng.normal(size=(TOPICS // 30, 1, WIDTH)).repeat(30, 1).reshape(-1, WIDTH) * 0.7
        + rng.normal(size=(TOPICS, WIDTH))
    )
    own = unit(rng.normal(size=(TOPICS * OWN, WIDTH))).reshape(TOPICS, OWN, WIDTH)
    chance = 1 / np.arange(1, TOPICS + 1) ** 0.5
    topic = rng.choice(TOPICS, rows, p=chance / chance.sum())
    at = np.flatnonzero(rng.random(rows) < COPIES)
    at = at[at > 100]
    of = rng.integers(0, at)
    copied = np.isin(of, at)  # copies of originals only
    at, of = at[~copied], of[~copied]
    x = np.empty((rows, WIDTH), np.float32)
    for low in range(0, rows, 4096):
        t = topic[low : low + 4096]
        near = np.einsum("no,nod->nd", rng.normal(size=(len(t), OWN)) / np.sqrt(OWN), own[t])
        x[low : low + 4096] = unit(centres[t] + 0.75 * near + 0.55 * unit(rng.normal(size=(len(t), WIDTH))))
    noise = unit(rng.normal(size=(len(at), WIDTH)))
    x[at] = unit(x[of] + noise * rng.uniform(0.02, 0.3, (len(at), 1)).astype(np.float32))
    folder.mkdir(parents=True)
    for i, low in enumerate(range(0, rows, FILE_ROWS)):
        mine = np.ascontiguousarray(x[low : low + FILE_ROWS])
        column = pa.Array.from_buffers(pa.binary(WIDTH * 4), len(mine), [None, pa.py_buffer(mine)])
        ids = pa.array([f"r{j}" for j in range(low, low + len(mine))])
        pq.write_table(
            pa.table({"id": ids, "emb.x": column}),
            folder / f"{i}.parquet",
            row_group_size=10_000,
            use_dictionary=False,
            compression="none",
        )
    np.save(folder / "pairs.npy", np.stack([of, at], axis=1))


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


def ran(python: str, body: str, data: Path, out: Path, k: int) -> dict[str, float] | str:
    out.mkdir()
    script = out / "way.py"
    script.write_text(START + body + END)
    done = subprocess.run([python, script, data, out, str(k)], capture_output=True, text=True)
    return done.stderr.strip().splitlines()[-1][:100] if done.returncode else json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--k", type=int, default=1000)
    parser.add_argument("--peers", help="a Python with faiss and others")
    parser.add_argument("--only", default="")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        data = Path(name) / "docs"
        write(data, asked.rows)
        print(
            f"k-means, {asked.rows:,} x {WIDTH}, k={asked.k}{'':16}{'CPU s':>8}{'peak MB':>9}{'mean cosine':>13}",
            flush=True,
        )
        for i, (way, (peer, body)) in enumerate(KMEANS.items()):
            if asked.only not in way or (peer and not asked.peers):
                continue
            out = Path(name) / f"k{i}"
            got = ran(asked.peers if peer else sys.executable, body, data, out, asked.k)
            if isinstance(got, str):
                print(f"{way:44}{got}")
                continue
            cosine = mean_cosine(data, np.load(out / "centres.npy"))
            print(f"{way:44}{got['cpu']:8.1f}{got['peak']:9.0f}{cosine:13.4f}", flush=True)


if __name__ == "__main__":
    main()
