"""Speed of ``length:tokenizer=`` beside a bare loop of ``encode_batch`` over the same tokenizer.

    python benchmarks/scorers/tokenizer_speed.py [--mb 8]

A byte-level BPE of 8,000 tokens is trained on a part of the Python sources of this machine. Each of the rows of the
table runs in a process of its own on one core: ``encode_batch`` over texts in memory, 16 at a time; the scorer over the
same texts; and the command ``curate score`` from a Parquet file to a score file, less the same command with ``length``
alone, which reads and writes as much.
"""

import argparse
import os
import resource
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

os.environ["TOKENIZERS_PARALLELISM"] = "false"

import polars as pl
import tokenizers

from curate.models import token_counter


def sources(megabytes: float) -> list[str]:
    texts, size = [], 0
    for path in sorted(Path(sysconfig.get_path("stdlib")).rglob("*.py")):
        text = path.read_text(encoding="utf-8", errors="ignore")
        texts.append(text)
        size += len(text)
        if size > megabytes * 1e6:
            break
    return texts


def train(texts: list[str], path: Path) -> None:
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=8000, show_progress=False, initial_alphabet=alphabet)
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.save(str(path))


def seconds(function: Callable[[], list[int]]) -> tuple[float, list[int]]:
    start = time.process_time()
    counts = function()
    return time.process_time() - start, counts


def command(rows: Path, scorer: str, out: Path) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        ["curate", "score", str(rows), "--scorer", scorer, "--out", str(out), "--workers", "1"],
        check=True,
        capture_output=True,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--mb", type=float, default=8)
    texts = sources(parser.parse_args().mb)
    megabytes = sum(len(text.encode()) for text in texts) / 1e6
    with TemporaryDirectory() as name:
        folder = Path(name)
        train(texts[::10], folder / "tokenizer.json")
        pl.DataFrame({"text": texts}).write_parquet(folder / "rows.parquet")
        plain = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))

        def loop() -> list[int]:
            starts = range(0, len(texts), 16)
            batches = (plain.encode_batch(texts[i : i + 16], add_special_tokens=False) for i in starts)
            return [len(encoding.ids) for batch in batches for encoding in batch]

        counter = token_counter.load(str(folder / "tokenizer.json"))
        bare, expected = seconds(loop)
        ours, counts = seconds(lambda: counter.count(texts).tolist())
        assert counts == expected
        spec = f"length:tokenizer={folder / 'tokenizer.json'}"
        whole = command(folder / "rows.parquet", spec, folder / "a") - command(
            folder / "rows.parquet", "length", folder / "b"
        )
        print(f"{len(texts)} texts, {megabytes:.1f} MB, {sum(counts) / 1e6:.2f} M tokens")
        print(f"{'':34}{'CPU-s':>8}{'texts/CPU-s':>13}{'MB/CPU-s':>10}{'ratio':>7}")
        for words, spent in (
            ("encode_batch, a bare loop", bare),
            ("the scorer", ours),
            ("curate score, reading apart", whole),
        ):
            print(f"{words:34}{spent:8.2f}{len(texts) / spent:13.0f}{megabytes / spent:10.2f}{bare / spent:7.2f}")


if __name__ == "__main__":
    sys.exit(main())
