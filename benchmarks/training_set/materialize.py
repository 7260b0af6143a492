"""Drawing a training set of 1.5 passes beside a shuffle in memory: python benchmarks/training_set/materialize.py

Both write zstd Parquet shards of 5,000 documents of about 4 kB. Each runs in a process of its own; peak memory is that
process's largest resident set. Four times the data should not take more of it.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import polars as pl

SHARD_ROWS = 5000
FILES = (10, 40)  # of 2,500 documents each
SHARES = {"a": 0.5, "b": 0.3, "c": 0.2}
START = """
import json, sys, time
from pathlib import Path
data, out, tokens = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
"""
END = """
peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
print(json.dumps({"cpu": time.process_time(), "peak": int(peak.split()[1]) / 1e3}))  # ru_maxrss remembers the parent
"""
WAYS = {
    "curate materialize": f"""
from curate.pool import mixture, pool as pools
from curate.training_set import draw
members = pools.load_pools(data.parent / "pools.json")
parts = tuple(mixture.Part(pool, round({SHARES}[pool.name] * tokens)) for pool in members)
draw.draw(mixture.Mixture(parts, (), 1e6, "a benchmark"), out, shard_rows={SHARD_ROWS})
""",
    "polars in memory, with replacement": f"""
import polars as pl
out.mkdir()
rows = pl.read_parquet(data / "**/*.parquet").sample(fraction=1.5, with_replacement=True, shuffle=True, seed=0)
for i, part in enumerate(rows.iter_slices({SHARD_ROWS})):
    part.write_parquet(out / f"{{i}}.parquet")
""",
}


def write(folder: Path, files: int) -> int:
    """Write random words as three sources, and their pools; return their tokens."""
    from curate.pool.pool import Pool, to_json
    from curate.storage import artifacts

    rng = np.random.default_rng(0)
    words = np.array(["".join(map(chr, rng.integers(97, 123, rng.integers(2, 9)))) for _ in range(20_000)])
    tokens, rows = dict.fromkeys(SHARES, 0), dict.fromkeys(SHARES, 0)
    for i in range(files):
        source = "abc"[i % 3]
        texts = pl.Series("text", [" ".join(words[rng.zipf(1.3, 700) % len(words)]) for _ in range(2500)])
        size = ((texts.str.len_bytes() + 3) // 4).cast(pl.Int64).alias("tokens")
        path = folder / "data" / f"source={source}" / f"{i:02d}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pl.DataFrame([pl.Series("id", [f"{i}-{j}" for j in range(2500)]), texts, size]).write_parquet(path)
        tokens[source] += int(size.sum())
        rows[source] += 2500
    pools = [Pool(name, tokens[name], rows[name], (str(folder / "data"),), {"source": name}) for name in SHARES]
    artifacts.save(folder / "pools.json", "pools", {"pools": to_json(pools)})
    return sum(tokens.values())


def main() -> None:
    print(f"{'':36}{'MB drawn':>10}{'CPU s':>8}{'MB / CPU s':>12}{'peak MB':>9}")
    for files in FILES:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            tokens = int(1.5 * write(folder, files))
            for i, (way, body) in enumerate(WAYS.items()):
                command = [sys.executable, "-c", START + body + END, folder / "data", folder / str(i), str(tokens)]
                done = subprocess.run(command, check=True, capture_output=True, text=True)
                used = json.loads(done.stdout)
                drawn = 4 * tokens / 1e6
                print(f"{way:36}{drawn:10.0f}{used['cpu']:8.1f}{drawn / used['cpu']:12.0f}{used['peak']:9.0f}")


if __name__ == "__main__":
    main()
