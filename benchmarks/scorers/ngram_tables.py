"""Load of n-gram tables against rankings, and speed: python benchmarks/scorers/ngram_tables.py [--mb N] [--only NAME]

Texts: the Python sources and the copyright files of this machine, mixed with a seed. The first table learns
`perplexity` from half of the sources, in tables of several sizes, and ranks the other half above the copyright files.
AUC: how well. Error: scores less those of a dictionary model without hashing, mean and standard deviation in nats. The
second table shows what a part sends to be summed, beside a whole table. The third measures CPU-seconds.
"""

import argparse
import math
import resource
import subprocess
import sys
import sysconfig
import tempfile
import time
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
import polars as pl
from sklearn.metrics import roc_auc_score

from curate.scorers import dsir, perplexity
from curate.storage import files
from curate.tables.corpus import Corpus, FramePart
from curate.words import ngrams

ORDER, CONCENTRATION = 3, 30.0
CURATE = "import sys; from pipelines.shared.cli import main; sys.exit(main())"


def texts(megabytes: float) -> pl.DataFrame:
    """Return files of this machine, `code` and `licence`, in an order drawn by a seed."""
    library = Path(sysconfig.get_paths()["stdlib"])
    places = {"code": library.rglob("*.py"), "licence": Path("/usr/share/doc").glob("*/copyright")}
    rows = []
    for kind, paths in places.items():
        for path in sorted(paths):
            if "site-packages" not in path.parts and path.is_file():
                text = path.read_text(encoding="utf-8", errors="replace")
                if len(text) > 200:
                    rows.append((kind, text))
    order = np.random.default_rng(0).permutation(len(rows))
    frame = pl.DataFrame([rows[i] for i in order], schema=["kind", "text"], orient="row").with_row_index("id")
    return frame.filter(pl.col("text").str.len_bytes().cum_sum() <= megabytes * 1e6).cast({"id": pl.String})


def corpus_of(frame: pl.DataFrame, folder: str, parts: int = 2) -> Corpus:
    """Return rows as a corpus of a few parts, with work files in a new folder."""
    pieces = enumerate(frame.iter_slices(math.ceil(frame.height / parts)))
    return Corpus([FramePart(f"part-{i}", (piece,)) for i, piece in pieces], Path(tempfile.mkdtemp(dir=folder)))


def dictionary_scores(learned: pl.Series, scored: pl.Series) -> np.ndarray:
    """Return the scores of `perplexity` by a dictionary of n-grams of words."""
    counts: Counter[tuple[int, ...]] = Counter()
    contexts: Counter[tuple[int, ...]] = Counter()
    # No word has the hash -1: it stands before the first word of a text, and after the last.
    for words in _words(learned):
        padded = [-1] * ORDER + words + [-1]
        for i in range(ORDER, len(padded)):
            for k in range(ORDER):
                counts[tuple(padded[i - k : i + 1])] += 1
                contexts[(k, *padded[i - k : i])] += 1
    scores = []
    for words in _words(scored):
        padded, total = [-1] * ORDER + words, 0.0
        for i in range(ORDER, len(padded)):
            share = 1 / perplexity.VOCABULARY["word"]
            for k in range(ORDER):
                context = contexts[(k, *padded[i - k : i])]
                share = (counts[tuple(padded[i - k : i + 1])] + CONCENTRATION * share) / (context + CONCENTRATION)
            total += math.log(share)
        scores.append(total / len(words))
    return np.array(scores)


def _words(column: pl.Series) -> list[list[int]]:
    return [ngrams.words(column[i : i + 1], marks=True).values.tolist() for i in range(len(column))]


def compare_loads(frame: pl.DataFrame, folder: str) -> None:
    """Print what the load of the fullest table does to scores."""
    code, licence = (frame.filter(pl.col("kind") == kind) for kind in ("code", "licence"))
    learned, held_out = code[::2], pl.concat([code[1::2], licence])
    exact = dictionary_scores(learned["text"], held_out["text"])
    is_code = (held_out["kind"] == "code").to_numpy()
    megabytes = learned["text"].str.len_bytes().sum() / 1e6
    print(f"{megabytes:.1f} MB of code; {is_code.sum()} held-out files of code, {(~is_code).sum()} copyright files\n")
    print(f"{'bits':>10}{'table MB':>10}{'load':>8}{'AUC':>7}{'error':>9}{'+-':>7}")
    print(f"{'dictionary':>10}{'':>10}{'':>8}{roc_auc_score(is_code, exact):7.3f}{0:9.3f}{0:7.3f}", flush=True)
    # Of tables without an empty cell the load is unknown, so it is computed from the different n-grams of large tables.
    different = perplexity.learn(corpus_of(learned, folder), bits=24).different.max()
    for bits in (0, 24, 22, 20, 19, 18, 17, 16, 15, 14, 13, 12):
        model = perplexity.learn(corpus_of(learned, folder), bits=bits)
        scores = model(held_out)["score.perplexity"].to_numpy()
        errors, load = scores - exact, different / model.counts.shape[1]
        size, auc = model.counts.nbytes / 1e6, roc_auc_score(is_code, scores)
        name = f"0 ({model.counts.shape[1].bit_length() - 1})" if bits == 0 else bits
        print(f"{name:>10}{size:10.2f}{load:8.2f}{auc:7.3f}{errors.mean():9.3f}{errors.std():7.3f}", flush=True)


def compare_exchanges(frame: pl.DataFrame, folder: str) -> None:
    """Print the bytes that one part sends, beside the bytes of a table that several parts would sum."""
    corpus = corpus_of(frame, folder, parts=1)
    megabytes = frame["text"].str.len_bytes().sum() / 1e6
    before = time.process_time()
    model = perplexity.learn(corpus)
    seconds = time.process_time() - before
    sent = sum(files.size(path) for path in files.below(corpus.folder, ".arrow")) / 1e6
    print(f"\n{'one part':30}{'MB':>9}{'for each MB of text':>21}")
    print(f"{'text':30}{megabytes:9.1f}{1:21.2f}")
    print(f"{'different keys with counts':30}{sent:9.1f}{sent / megabytes:21.2f}")
    for bits in (20, 22, 24, 26):
        table = 4 * ORDER * 2**bits / 1e6
        print(f"{f'tables of 2^{bits} cells':30}{table:9.1f}{table / megabytes:21.2f}")
    sums, counts = (np.zeros(model.counts.shape, np.uint32) for _ in range(2))
    before = time.process_time()
    sums += counts
    adding = time.process_time() - before
    print(
        f"learning takes {seconds:.2f} CPU-s; adding two tables of {sums.nbytes / 1e6:.1f} MB {adding:.3f} CPU-s more"
    )


def used(function) -> float:
    """Return the CPU-seconds that a call takes, with those of programs that it runs."""
    before = sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    function()
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) - before


def compare_speeds(frame: pl.DataFrame, folder: str) -> None:
    """Print MB of text for each CPU-second of learning and scoring: in this process, and as a job."""
    data, target = Path(folder) / "data.parquet", Path(folder) / "target.parquet"
    frame.write_parquet(data)
    frame[::8].write_parquet(target)
    megabytes = frame["text"].str.len_bytes().sum() / 1e6
    column = frame["text"]
    print(f"\n{'MB for each CPU-second':34}{'learn':>8}{'score':>8}{'both':>8}{'job':>8}")

    def row(name: str, *seconds: float, size: float = megabytes) -> None:
        print(f"{name:34}" + "".join(f"{size / s:8.1f}" if s else f"{'':8}" for s in seconds), flush=True)

    row("zlib at level 6", 0, used(lambda: [zlib.compress(text.encode()) for text in column]))
    row("splitting into words", 0, used(lambda: [ngrams.words(piece, marks=True) for piece in ngrams.pieces(column)]))
    small = frame[: frame.height // 16]["text"]
    row(
        "n-grams in a dictionary",
        0,
        0,
        used(lambda: dictionary_scores(small, small)),
        size=small.str.len_bytes().sum() / 1e6,
    )
    job(data, folder, "length")
    start = used(lambda: job(data, folder, "length"))
    for name, module, options in (
        ("dsir", dsir, {"target": str(target)}),
        ("perplexity", perplexity, {}),
        ("perplexity:unit=byte,order=5", perplexity, {"unit": "byte", "order": 5}),
    ):
        scorers: list = []
        learning = used(lambda: scorers.append(module.learn(corpus_of(frame, folder), **options)))  # noqa: B023
        scoring = used(lambda: scorers[0](frame))  # noqa: B023
        spec = name + (f":target={target}" if options.get("target") else "")
        jobs = used(lambda: job(data, folder, spec))  # noqa: B023
        row(name, learning, scoring, learning + scoring, max(jobs - start, 1e-9))
    print(f"job: `curate score`, less the {start:.1f} CPU-s that the job `length` takes")


def job(data: Path, folder: str, spec: str) -> None:
    """Run `curate score` with one worker."""
    out = tempfile.mkdtemp(dir=folder)
    command = [sys.executable, "-c", CURATE, "score", str(data), "--scorer", spec, "--out", out, "--workers", "1"]
    subprocess.run(command, check=True, capture_output=True)


TABLES = {"loads": compare_loads, "exchanges": compare_exchanges, "speeds": compare_speeds}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--mb", type=float, default=8)
    parser.add_argument("--only", choices=TABLES, nargs="+", default=list(TABLES))
    arguments = parser.parse_args()
    frame = texts(arguments.mb)
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.only:
            TABLES[name](frame, folder)


if __name__ == "__main__":
    main()
