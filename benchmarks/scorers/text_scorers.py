"""Text scorers, documents per CPU-second and peak memory: python benchmarks/scorers/text_scorers.py [--rows N]
[--peers PYTHON]

Documents of 240 words drawn by Zipf's law; 15 % of texts have 1 to 4 near copies with 0 to 3 words changed. Each way
runs in a process of its own on the whole job, from Parquet files to score files. Peers run on fewer rows, with the
Python of an environment where they are installed (datatrove, spacy, text-dedup, data-selection); others are left out.
lost: planted groups with no text left. Lines alone: groups that 14 bands of 8 rows must leave more than one of, in
theory. Wrong: texts removed that resemble no other.
"""

import argparse
import json
import math
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import polars as pl

WORDS, VOCABULARY, FILE_ROWS = 240, 20_000, 50_000
START = """
import json, resource, sys, time
from pathlib import Path
data, out = Path(sys.argv[1]), Path(sys.argv[2])
def used():
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
kept = None
if __name__ == "__main__":
"""
END = """
cpu = used() - before
peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
if kept is not None:
    (out / "kept.json").write_text(json.dumps(list(kept())))
peak = max(int(peak.split()[1]), resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
print("\\n" + json.dumps({"cpu": cpu, "peak": peak / 1e3}))
"""
JOB = """
import polars as pl
from curate.scoring import score
before = used()
score.score([str(data / "docs")], ["SPEC"], out)
"""
DUPLICATES = """
kept = lambda: pl.read_parquet(out / "*.scores.parquet").filter(pl.col("score.duplicates") == 1)["id"]
"""
DATATROVE = """
from datatrove.executor import LocalPipelineExecutor as Run
from datatrove.pipeline.dedup import MinhashDedupBuckets, MinhashDedupCluster, MinhashDedupFilter
from datatrove.pipeline.dedup import MinhashDedupSignature
from datatrove.pipeline.dedup.minhash import MinhashConfig
from datatrove.pipeline.readers import ParquetReader
from datatrove.pipeline.writers.jsonl import JsonlWriter
config = MinhashConfig(n_grams=5, num_buckets=14, hashes_per_bucket=8)
read = lambda: ParquetReader(str(data / "docs"))
at = lambda name: str(out / name)
before = used()
Run([read(), MinhashDedupSignature(at("sig"), config)], tasks=1, logging_dir=at("l1")).run()
Run([MinhashDedupBuckets(at("sig"), at("buckets"), config=config)], tasks=14, logging_dir=at("l2")).run()
Run([MinhashDedupCluster(at("buckets"), at("gone"), config)], tasks=1, logging_dir=at("l3")).run()
save = JsonlWriter(at("kept"), compression=None)
Run([read(), MinhashDedupFilter(at("gone")), save], tasks=1, logging_dir=at("l4")).run()
kept = lambda: [json.loads(line)["id"] for p in sorted((out / "kept").iterdir()) for line in p.open()]
"""
TEXT_DEDUP = """
import subprocess
before = used()
flags = f'''--path parquet --data_files {data}/docs/*.parquet --split train --cache_dir {out}/cache --output {out}/kept
    --column text --ngram 5 --num_perm 112 --b 14 --r 8 --threshold 0.75 --min_length 0 --num_proc 1'''.split()
subprocess.run([sys.executable, "-m", "text_dedup.minhash", *flags], check=True)
import datasets
kept = lambda: datasets.load_from_disk(str(out / "kept"))["id"]
"""
DATA_SELECTION = """
from data_selection import HashedNgramDSIR
before = used()
dsir = HashedNgramDSIR([str(data / "docs.jsonl")], [str(data / "target.jsonl")], cache_dir=str(out), num_proc=1)
dsir.fit_importance_estimator(num_tokens_to_fit="all")
dsir.compute_importance_weights()
"""
WAYS = {
    "duplicates": (1, JOB.replace("SPEC", "duplicates") + DUPLICATES),
    "duplicates:bands=0 (exact copies)": (1, JOB.replace("SPEC", "duplicates:bands=0")),
    "dsir": (1, JOB.replace('"SPEC"', 'f"dsir:target={data}/target.parquet"')),
    "perplexity": (1, JOB.replace("SPEC", "perplexity")),
    "perplexity:unit=byte,order=5": (10, JOB.replace("SPEC", "perplexity:unit=byte,order=5")),
    "length": (1, JOB.replace("SPEC", "length")),
    "compression": (10, JOB.replace("SPEC", "compression")),
    "repetition": (10, JOB.replace("SPEC", "repetition")),
    "language": (10, JOB.replace("SPEC", "language")),
}
PEERS = {
    "datatrove MinHash": (50, DATATROVE),
    "text-dedup MinHash": (10, TEXT_DEDUP),
    "data-selection DSIR": (20, DATA_SELECTION),
}


def write(folder: Path, rows: int) -> None:
    """Write documents in files of 50,000, with the planted group of each in ``groups.parquet``, and a target."""
    rng = np.random.default_rng(0)
    words = np.array(["".join(map(chr, rng.integers(97, 123, rng.integers(2, 9)))) for _ in range(VOCABULARY)])
    shares = np.cumsum(1 / np.arange(1, VOCABULARY + 1))
    shares /= shares[-1]
    texts, group = [], []
    while len(texts) < rows:
        base = np.searchsorted(shares, rng.random(WORDS))
        for copy in range(1 if rng.random() < 0.85 else int(rng.integers(2, 6))):
            document = base.copy()
            if copy:
                edits = rng.choice(WORDS, int(rng.integers(0, 4)), replace=False)
                document[edits] = rng.integers(0, VOCABULARY, len(edits))
            texts.append(" ".join(words[document]))
            group.append(group[-1] if copy else len(texts))
    order = rng.permutation(rows)
    ids = pl.Series("id", [f"d{i}" for i in range(rows)])
    frame = pl.DataFrame([ids, pl.Series("text", [texts[i] for i in order])])
    (folder / "docs").mkdir(parents=True)
    for i, part in enumerate(frame.iter_slices(FILE_ROWS)):
        part.write_parquet(folder / "docs" / f"{i}.parquet", row_group_size=10_000)
    pl.DataFrame([ids, pl.Series("group", np.array(group)[order])]).write_parquet(folder / "groups.parquet")
    frame[:2000].write_parquet(folder / "target.parquet")
    if rows <= 20_000:
        frame.select("text").write_ndjson(folder / "docs.jsonl")
        frame[:2000].select("text").write_ndjson(folder / "target.jsonl")


def jaccard(first: str, second: str) -> float:
    """Of sets of word 5-grams."""
    sets = [{tuple(w[i : i + 5]) for i in range(len(w) - 4)} for w in (first.split(), second.split())]
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


def judge(folder: Path, kept: list[str]) -> str:
    """Planted groups lost, groups not whole beside the theory of single pairs to the kept, and wrong removals."""
    frame = pl.read_parquet(folder / "groups.parquet").with_columns(kept=pl.col("id").is_in(kept))
    groups = frame.group_by("group").agg(pl.len(), pl.col("kept").sum(), pl.col("id"))
    planted, chosen = groups.filter(pl.col("len") > 1), set(kept)
    texts = dict(pl.read_parquet(folder / "docs" / "*.parquet").iter_rows())
    wrong = sum(ids[0] not in chosen for ids in groups.filter(pl.col("len") == 1)["id"].to_list())
    missed = 0.0
    for ids in planted["id"].to_list():
        wrong += sum(
            max(jaccard(texts[id_], texts[other]) for other in ids if other != id_) < 0.75
            for id_ in ids
            if id_ not in chosen
        )
        unlike = list({texts[id_] for id_ in ids})
        if len(unlike) > 1:
            chances = [[(1 - jaccard(a, b) ** 8) ** 14 for b in unlike if b != a] for a in unlike]
            missed += sum(map(math.prod, chances)) / (1 if len(unlike) > 2 else 2)
    lost = groups.filter(pl.col("kept") == 0).height
    whole = planted.filter(pl.col("kept") > 1).height
    return f"lost {lost}; more than one left {whole} of {planted.height} (lines alone: {missed:.0f}); wrong {wrong}"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--peers", help="a Python with datatrove and others")
    parser.add_argument("--only", default="")
    arguments = parser.parse_args()
    ways = [(name, sys.executable, *way) for name, way in WAYS.items()]
    ways += [(name, arguments.peers, *way) for name, way in PEERS.items() if arguments.peers]
    print(f"{'':36}{'documents':>10}{'CPU s':>8}{'per CPU s':>11}{'peak MB':>9}", flush=True)
    with tempfile.TemporaryDirectory() as name:
        for i, (way, python, part, body) in enumerate(ways):
            if arguments.only not in way:
                continue
            rows = arguments.rows // part
            data, out = Path(name) / str(rows), Path(name) / f"out{i}"
            if not data.exists():
                write(data, rows)
            out.mkdir()
            script = Path(name) / f"way{i}.py"
            script.write_text(START + "".join(f"    {line}\n" for line in (body + END).split("\n")))
            done = subprocess.run([python, script, data, out], capture_output=True, text=True)
            if done.returncode:
                print(f"{way:36}{done.stderr.strip().splitlines()[-1][:100]}", flush=True)
                continue
            used = json.loads(done.stdout.splitlines()[-1])
            print(f"{way:36}{rows:10,}{used['cpu']:8.1f}{rows / used['cpu']:11,.0f}{used['peak']:9.0f}", end="")
            told = judge(data, json.loads((out / "kept.json").read_text())) if (out / "kept.json").exists() else ""
            print(f"   {told}", flush=True)


if __name__ == "__main__":
    main()
