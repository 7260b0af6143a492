"""Cost of hashing rows while they are read: CPU seconds of reading files with and without the hash.

    python benchmarks/scoring/row_hash.py --repeats 5

`score` hashes the columns that it reads, so that later jobs can tell whether a file still has the scored rows. Reading
is that of `score`: batches with ids, sources and tokens, cut and checked. The share is the median over the repeats, of
pairs that alternate, since CPU time varies on a busy machine. ``bytes`` is what hashing the whole file would cost
instead, in an extra read of it from the page cache.
"""

import argparse
import json
import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curate.storage.files import content_hash
from curate.tables import batches
from curate.tables.scored_inputs.row_hash import RowHasher
from curate.tables.shards import Shard

TEXT_ROWS, VECTOR_ROWS, WIDTH = 40_000, 60_000, 384


def make(folder: Path) -> list[tuple[Path, str]]:
    """Write texts of about 2 kB and vectors, and return each path with the column to read."""
    generator = np.random.default_rng(0)
    words = np.array([f"word{i}" for i in range(5000)])
    texts = [" ".join(words[generator.zipf(1.3, 350) % 5000]) for _ in range(TEXT_ROWS)]
    ids = [str(i) for i in range(TEXT_ROWS)]
    pq.write_table(pa.table({"id": ids, "text": texts}), folder / "text.parquet", compression="zstd")
    lines = (json.dumps({"id": name, "text": text}) + "\n" for name, text in zip(ids, texts, strict=True))
    (folder / "text.jsonl").write_text("".join(lines))
    numbers = generator.normal(size=(VECTOR_ROWS, WIDTH)).astype(np.float32)
    vectors = pa.FixedSizeListArray.from_arrays(numbers.ravel(), WIDTH)
    pq.write_table(pa.table({"emb.x": vectors}), folder / "vectors.parquet", compression="zstd")
    return [
        (folder / "text.parquet", "text"),
        (folder / "text.jsonl", "text"),
        (folder / "vectors.parquet", "emb.x"),
    ]


def read(path: Path, column: str, hasher: RowHasher | None) -> float:
    """Read a file as `score` does, and return the CPU seconds that it took."""
    start = time.process_time()
    for _ in batches.batches(Shard(path, path.name), (column,), size=batches.BATCH_BYTES, hasher=hasher):
        pass
    return time.process_time() - start


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    print(f"{'file':16} {'MB':>5} {'read s':>8} {'hash s':>8} {'share %':>8} {'bytes s':>8}")
    with TemporaryDirectory() as folder:
        for path, column in make(Path(folder)):
            read(path, column, None)
            plain, hashed = [], []
            for _ in range(repeats):
                plain.append(read(path, column, None))
                hashed.append(read(path, column, RowHasher()))
            extra = [more - less for more, less in zip(hashed, plain, strict=True)]
            shares = [100 * more / less for more, less in zip(extra, plain, strict=True)]
            start = time.process_time()
            content_hash(path)
            whole = time.process_time() - start
            print(
                f"{path.name:16} {path.stat().st_size / 1e6:5.0f} {median(plain):8.3f} {median(extra):8.4f} "
                f"{median(shares):8.1f} {whole:8.3f}"
            )


if __name__ == "__main__":
    main()
