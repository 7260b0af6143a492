"""Programs of others on the same texts: what they cost in CPU seconds, in a process of their own.

Each peer is code that reads the texts of ``sys.argv[1]`` with `texts()` and works on them; only the work is measured.
A peer that the Python given by ``--peers`` cannot import is reported as missing.
"""

import json
import os
import subprocess
from pathlib import Path

from engine_rows.jobs import ONE_THREAD

START = """
import glob, json, resource, sys, time
import pyarrow.parquet as pq
def texts():
    for path in sorted(glob.glob(sys.argv[1] + "/*")):
        if path.endswith(".parquet"):
            yield from pq.read_table(path, columns=["text"])["text"].to_pylist()
        else:
            with open(path, encoding="utf-8") as lines:
                yield from (json.loads(line)["text"] for line in lines)
"""
END = """
documents, size = [], 0
for text in texts():
    if size >= int(sys.argv[2]): break
    documents.append(text)
    size += len(text.encode())
start = time.process_time()
work(documents)
print(json.dumps({"cpu": time.process_time() - start, "bytes": size}))
"""
# Peers work on the first texts, up to so many bytes: one of them would take minutes for all.
MOST_BYTES = 16 << 20
PEERS = {
    "zlib": """
import zlib
def work(documents):
    for text in documents: zlib.compress(text.encode(), 6)
""",
    "rensa": """
import re
from rensa import RMinHash, RMinHashLSH
def work(documents):
    index = RMinHashLSH(threshold=0.75, num_perm=112, num_bands=14)
    for number, text in enumerate(documents):
        words = re.findall(r"\\w+", text.lower())
        sketch = RMinHash(num_perm=112, seed=0)
        sketch.update([" ".join(words[i : i + 5]) for i in range(max(1, len(words) - 4))])
        index.query(sketch)
        index.insert(number, sketch)
""",
    "datasketch": """
import re
from datasketch import MinHash, MinHashLSH
def work(documents):
    index = MinHashLSH(num_perm=112, params=(14, 8))
    for number, text in enumerate(documents):
        words = re.findall(r"\\w+", text.lower())
        sketch = MinHash(num_perm=112, seed=0)
        sketch.update_batch([" ".join(words[i : i + 5]).encode() for i in range(max(1, len(words) - 4))])
        index.query(sketch)
        index.insert(number, sketch)
""",
    "datatrove repetition": """
from datatrove.data import Document
from datatrove.pipeline.filters import GopherRepetitionFilter
def work(documents):
    repetition = GopherRepetitionFilter()
    for number, text in enumerate(documents): repetition.filter(Document(text=text, id=str(number)))
""",
    "polars length": """
import polars as pl
def work(documents):
    pl.Series(documents).str.len_chars().sum()
""",
    "duckdb length": """
import duckdb
import pyarrow as pa
def work(documents):
    rows = pa.table({"text": documents})
    duckdb.sql("select sum(length(text)) from rows").fetchall()
""",
    "py3langid": """
from py3langid.langid import LanguageIdentifier, MODEL_FILE
def work(documents):
    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    for text in documents: identifier.classify(text)
""",
}
VECTOR_PEERS = {
    "MiniBatchKMeans": """
from sklearn.cluster import MiniBatchKMeans
def work(vectors):
    MiniBatchKMeans(K, random_state=0, n_init=1).fit(vectors)
""",
    "faiss k-means": """
import faiss
def work(vectors):
    faiss.omp_set_num_threads(1)
    faiss.Kmeans(vectors.shape[1], K, niter=20, seed=0, spherical=True).train(vectors)
""",
}
VECTORS = """
import json, sys, time
import numpy as np
K = int(sys.argv[2])
vectors = np.load(sys.argv[1])
start = time.process_time()
work(vectors)
print(json.dumps({"cpu": time.process_time() - start}))
"""


def rate(name: str, python: str, data: Path) -> tuple[float, float] | None:
    """Return the CPU seconds of a peer on the first texts of a folder, and bytes a second.

    The result is None if the peer is missing.
    """
    record = _run(START + PEERS[name] + END, python, str(data), str(MOST_BYTES))
    return None if record is None else (record["cpu"], record["bytes"] / max(record["cpu"], 1e-9))


def vector_cpu(name: str, python: str, vectors: Path, k: int) -> float | None:
    """Return the CPU seconds of a peer that clusters vectors into ``k`` clusters; None if it is missing."""
    record = _run(VECTOR_PEERS[name] + VECTORS, python, str(vectors), str(k))
    return None if record is None else record["cpu"]


def _run(code: str, python: str, *arguments: str) -> dict[str, float] | None:
    done = subprocess.run(
        [python, "-c", code, *arguments], capture_output=True, text=True, env={**os.environ, **ONE_THREAD}, check=False
    )
    if "ModuleNotFoundError" in done.stderr or "ImportError" in done.stderr:
        return None
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    record: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return record
