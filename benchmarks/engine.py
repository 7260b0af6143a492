"""The engine's table: what `curate score` costs, how it scales with workers and data, and what its scores are worth.

    python benchmarks/engine.py --sizes 60,240,1000 --workers 2
    python benchmarks/engine.py --sizes 10 --only text,small       # a part, within minutes
    python benchmarks/engine.py --peers PYTHON --earlier TREE      # beside other programs, and an earlier version

Every job runs through the command line in a process of its own, with one numerical thread a process. CPU seconds are of
all processes, and decide; wall seconds count only on a quiet machine. Driver: the share of the CPU seconds that the
driver uses with several workers, which no cluster can take over; bound: the largest speed-up that it allows at 16 and
1,000 workers, 1 / (s + (1 - s) / n). ``--peers`` is a Python that has rensa, datasketch, datatrove, duckdb and
faiss-cpu; what it lacks is named as missing. ``--earlier`` is the source tree of an earlier version, which runs the
same jobs in the same run. ``--texts`` adds folders of text files to the sources that this machine has.
"""

import argparse
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import polars as pl
from engine_rows import corpus, jobs, peers, quality
from engine_rows.corpus import Corpus
from engine_rows.jobs import Cost

MB = 1 << 20
K = 64  # clusters of the scorers of vectors
EMBEDDING = ("embedding",)
LEARNERS = ("duplicates", "perplexity")
HAS_LANGUAGE = find_spec("py3langid") is not None  # language needs this package, which is optional
PLAIN = ("length", "repetition", *(("language",) if HAS_LANGUAGE else ()), "compression")
SEMDEDUP = (*EMBEDDING, f"semdedup:k={K}")
PROTOTYPES = (*SEMDEDUP, f"prototypes:k={K}")
DENSITY = (*PROTOTYPES, f"density:k={K}")
# The aims of the issue, in MB of text a CPU-second.
AIMS = {"repetition": 14.0, "language": 14.0, "embedding": 15.0, "duplicates": 15.0, "compression": 35.0}
AIMS |= {"dsir": 15.0, "perplexity": 15.0}
BESIDE = {
    "repetition": ("datatrove repetition",),
    "language": ("py3langid",),
    "duplicates": ("rensa", "datasketch"),
    "compression": ("zlib",),
    "length": ("polars length", "duckdb length"),
}
SMALL_FILES = 10_000
SMALL_AIM = 150.0  # files a CPU-second


@dataclass
class Bench:
    """The settings of a run, and the jobs that have run: rows that ask for the same job share it."""

    folder: Path
    sizes: tuple[int, ...]
    workers: int
    peers: str
    earlier: Path | None
    small_files: int
    paragraphs: dict[str, list[str]]
    corpora: dict[int, Corpus] = field(default_factory=dict)
    costs: dict[tuple[object, ...], tuple[Cost, Path]] = field(default_factory=dict)

    def corpus(self, size: int) -> Corpus:
        """Return the data set of ``size`` MB."""
        if size not in self.corpora:
            self.corpora[size] = corpus.write(self.folder / f"{size}mb", self.paragraphs, size * MB)
        return self.corpora[size]

    def run(
        self, data: Path, specs: Sequence[str], *, workers: int = 1, engine: str = "local", root: Path = jobs.ROOT
    ) -> tuple[Cost, Path]:
        """Return the cost of a job and the folder of its scores."""
        key = (data, tuple(specs), workers, engine, root)
        if key not in self.costs:
            out = self.folder / f"out{len(self.costs)}"
            self.costs[key] = jobs.score(data, specs, out, workers=workers, engine=engine, root=root), out
        return self.costs[key]

    def dsir(self) -> str:
        """Return the specification of dsir, whose target is one source of the data."""
        target = self.folder / "target.parquet"
        if not target.exists():
            name = min(self.paragraphs, key=lambda source: (source != "licences", source))
            pl.DataFrame({"text": self.paragraphs[name][:2000]}).write_parquet(target)
        return f"dsir:target={target}"

    def show(self, row: str, size: float, cost: Cost, note: str = "", *, per: str = "MB") -> None:
        """Print a row of the table."""
        if cost.error:
            print(f"| {row} | {size:.0f} {per} | failed: {cost.error} | | | | | {note} |", flush=True)
            return
        rate = f"{size / cost.cpu:.1f} {per}"
        print(
            f"| {row} | {size:.0f} {per} | {cost.cpu:.1f} | {rate} | {cost.wall:.1f} | {cost.driver_share:.0%} | "
            f"{cost.peak:.0f} | {note} |",
            flush=True,
        )

    def job(self, row: str, size: int, specs: Sequence[str], note: str = "", *, workers: int = 1) -> Cost:
        """Run a job, and the earlier version's if there is one; print a row for each."""
        data = self.corpus(size)
        cost, _ = self.run(data.folder, specs, workers=workers)
        self.show(f"{row}, {workers} worker{'s' * (workers > 1)}", data.bytes / MB, cost, note)
        if self.earlier is not None:
            before, _ = self.run(data.folder, specs, workers=workers, root=self.earlier)
            ratio = f"{before.cpu / cost.cpu:.2f} times our CPU" if cost.cpu else ""
            self.show(f"{row}, earlier version", data.bytes / MB, before, ratio)
        return cost

    def say(self, row: str, text: str) -> None:
        """Print a row that has one figure or sentence."""
        print(f"| {row} | | | | | | | {text} |", flush=True)


def order(bench: Bench) -> None:
    """Six scorers in one job: the order must not matter."""
    size = bench.sizes[0]
    if not HAS_LANGUAGE:
        bench.say("six scorers", "only five: language is missing, since py3langid is not installed")
    last = bench.job("six scorers, learners last", size, (*PLAIN, *LEARNERS), "aim: 45 CPU-s on 62 MB")
    first = bench.job("six scorers, learners first", size, (*LEARNERS, *PLAIN))
    if first.cpu:
        bench.say("six scorers", f"last / first = {last.cpu / first.cpu:.2f} (aim: 1)")


def vectors(bench: Bench) -> None:
    """Scorers of vectors share one embedding."""
    for row, specs in (("semdedup", SEMDEDUP), ("+ prototypes", PROTOTYPES), ("+ density", DENSITY)):
        bench.job(f"embedding, {row}", bench.sizes[0], specs, "aim: 18 CPU-s on 62 MB")
    _, out = bench.run(bench.corpus(bench.sizes[0]).folder, SEMDEDUP)
    path = bench.folder / "vectors.npy"
    quality.vectors(out, "emb.hashed", path)
    for name in peers.VECTOR_PEERS:
        seconds = peers.vector_cpu(name, bench.peers, path, K)
        bench.say(f"peer: {name}, {K} clusters", "missing" if seconds is None else f"{seconds:.1f} CPU-s")


def machine(bench: Bench) -> None:
    """What the machine allows: as many independent jobs at once as workers, against one job alone.

    The cores of a rented machine may share caches, memory and clock, so that two jobs at once take longer than one.
    """
    data = bench.corpus(bench.sizes[0]).folder
    outputs = [bench.folder / f"at-once-{number}" for number in range(bench.workers)]
    alone, _ = bench.run(data, ("repetition",))
    with ThreadPoolExecutor(bench.workers) as threads:
        costs = list(threads.map(lambda out: jobs.score(data, ("repetition",), out), outputs))
    failed = [cost.error for cost in (alone, *costs) if cost.error]
    if failed:
        bench.say("machine", f"failed: {failed[0]}")
        return
    wall, cpu = max(cost.wall for cost in costs), sum(cost.cpu for cost in costs)
    bench.say(
        f"machine: {bench.workers} jobs at once",
        f"{bench.workers * alone.wall / wall:.2f} times the work of one in the same time, "
        f"{cpu / alone.cpu / bench.workers:.2f} times its CPU-s each",
    )


def speed_up(bench: Bench) -> None:
    """Wall seconds and the driver's share with several workers, and the same bytes."""
    machine(bench)
    size = bench.sizes[min(1, len(bench.sizes) - 1)]
    for row, specs in (
        ("repetition", ("repetition",)),
        ("duplicates", ("duplicates",)),
        ("perplexity", ("perplexity",)),
        ("dsir", (bench.dsir(),)),
        ("embedding + semdedup", SEMDEDUP),
    ):
        alone = bench.job(row, size, specs)
        shared = bench.job(row, size, specs, workers=bench.workers)
        if alone.error or shared.error:
            continue
        folders = [bench.run(bench.corpus(size).folder, specs, workers=n)[1] for n in (1, bench.workers)]
        same = "equal" if jobs.digest(folders[0]) == jobs.digest(folders[1]) else "DIFFERENT"
        share = shared.driver_share
        bounds = ", ".join(f"{1 / (share + (1 - share) / n):.1f} at {n}" for n in (16, 1000))
        bench.say(
            f"{row}, 1 -> {bench.workers} workers",
            f"wall {alone.wall / shared.wall:.2f}x (aim 1.8); driver {share:.1%} (aim 2 %), bound {bounds}; "
            f"bytes {same}",
        )
        if find_spec("ray") is None:
            bench.say(f"{row}, Ray", "missing: ray is not installed")
            continue
        ray, out = bench.run(bench.corpus(size).folder, specs, workers=bench.workers, engine="ray")
        same = "equal" if not ray.error and jobs.digest(out) == jobs.digest(folders[0]) else "DIFFERENT"
        bench.show(
            f"{row}, Ray", bench.corpus(size).bytes / MB, ray, f"{ray.cpu / shared.cpu:.2f} of local; bytes {same}"
        )


def text(bench: Bench) -> None:
    """Each scorer of text alone, beside its peers."""
    size = bench.sizes[0]
    one_text = bench.folder / "one-text"
    one_text.mkdir()
    pl.DataFrame({"text": ["one text"]}).write_parquet(one_text / "rows.parquet")
    start, _ = bench.run(one_text, ("length",))
    bench.say("start of the command", f"{start.cpu:.1f} CPU-s, contained in every row")
    for name in ("length", *AIMS):
        specs = (bench.dsir() if name == "dsir" else name,)
        cost, _ = bench.run(bench.corpus(size).folder, specs)
        rate = bench.corpus(size).bytes / MB / max(cost.cpu - start.cpu, 1e-9)
        aim = f" (aim: {AIMS[name]:g})" if name in AIMS else ""
        bench.job(name, size, specs, f"{rate:.1f} MB a CPU-s without the start{aim}")
        for peer in BESIDE.get(name, ()):
            measured = peers.rate(peer, bench.peers, bench.corpus(size).folder)
            shown = "missing" if measured is None else f"{measured[0]:.1f} CPU-s, {measured[1] / MB:.1f} MB a CPU-s"
            bench.say(f"peer: {peer}", shown)


def small(bench: Bench) -> None:
    """Many small files, without a scorer that learns and with it."""
    data = corpus.write_small(bench.folder / "small", bench.paragraphs, bench.small_files)
    for specs in (("length",), ("length", "duplicates")):
        row = f"small files of 10 kB, {' and '.join(specs)}"
        folders = {}
        for workers in (1, bench.workers):
            cost, folders[workers] = bench.run(data.folder, specs, workers=workers)
            aim = f"aim: {SMALL_AIM:g} files a CPU-s"
            bench.show(f"{row}, {workers} worker{'s' * (workers > 1)}", bench.small_files, cost, aim, per="files")
        same = "equal" if len({jobs.digest(out) for out in folders.values()}) == 1 else "DIFFERENT"
        bench.say(row, f"bytes {same}")
        if bench.earlier is not None:
            before, _ = bench.run(data.folder, specs, root=bench.earlier)
            bench.show(f"{row}, earlier version", bench.small_files, before, per="files")


def growth(bench: Bench) -> None:
    """CPU and memory over the sizes: CPU at most linear, memory flat."""

    def semdedup(size: int) -> tuple[str, ...]:
        # With a fixed number of clusters, each cluster grows with the data, and its rows are compared in pairs.
        return (*EMBEDDING, f"semdedup:k={round(K * (size / bench.sizes[0]) ** 0.5)}")

    rows: dict[str, Callable[[int], tuple[str, ...]]] = {
        "duplicates": lambda _: ("duplicates",),
        "perplexity": lambda _: ("perplexity",),
        "embedding + semdedup, clusters by the root of the size": semdedup,
    }
    for row, specs in rows.items():
        costs = [bench.job(f"growth: {row}", size, specs(size), workers=bench.workers) for size in bench.sizes]
        if len(costs) > 1 and not any(cost.error for cost in costs):
            data = bench.corpus(bench.sizes[-1]).bytes / bench.corpus(bench.sizes[0]).bytes
            bench.say(
                f"growth: {row}",
                f"{data:.1f} times the data: {costs[-1].cpu / costs[0].cpu:.1f} times the CPU (aim: at most linear), "
                f"{costs[-1].peak / costs[0].peak:.2f} times the memory (aim: 1.10)",
            )


def worth(bench: Bench) -> None:
    """Quality figures, which speed must not cost."""
    data = bench.corpus(bench.sizes[0])
    roots = {"": jobs.ROOT} | ({" (earlier version)": bench.earlier} if bench.earlier is not None else {})
    for label, root in roots.items():
        cost, out = bench.run(data.folder, ("duplicates",), root=root)
        for name, figure in [] if cost.error else quality.recall(out, data.planted):
            bench.say(f"duplicates{label}: {name}", figure)
        cost, out = bench.run(data.folder, (*EMBEDDING, f"prototypes:k={K}"), root=root)
        if not cost.error:
            ours, theirs = quality.objective(out, "emb.hashed", "cluster.prototypes", K)
            figure = f"{ours:.4f}, MiniBatchKMeans {theirs:.4f}, ratio {ours / theirs:.3f}"
            bench.say(f"k-means objective{label}", figure)
    languages(bench, roots)
    if bench.earlier is not None:
        spec = (bench.dsir(),)
        folders = [bench.run(data.folder, spec, root=root)[1] for root in roots.values()]
        value = quality.rank_correlation(*folders, "score.dsir")
        bench.say("dsir, rank correlation with the earlier version", f"{value:.4f}")


def languages(bench: Bench, roots: dict[str, Path]) -> None:
    """The AUC of English against all other languages that translations of programs on this machine have."""
    foreign = {name: texts for name, texts in corpus.translations().items() if name != "en"}
    if not foreign:
        bench.say("language, AUC", "missing: no translated programs on this machine")
        return
    english = [text for texts in bench.paragraphs.values() for text in texts[:200]]
    rows = [(f"en-{i}", text) for i, text in enumerate(english)]
    rows += [(f"{name}-{i}", text) for name, texts in sorted(foreign.items()) for i, text in enumerate(texts[:50])]
    data = bench.folder / "languages"
    data.mkdir(exist_ok=True)
    pl.DataFrame(rows, schema=["id", "text"], orient="row").write_parquet(data / "rows.parquet")
    for label, root in roots.items():
        cost, out = bench.run(data, ("language",), root=root)
        if not cost.error:
            names = f"English against {len(foreign)} languages"
            bench.say(f"language{label}, AUC", f"{quality.language_auc(out):.4f} ({names})")


ROWS: dict[str, Callable[[Bench], None]] = {
    "order": order,
    "vectors": vectors,
    "speed-up": speed_up,
    "text": text,
    "small": small,
    "growth": growth,
    "quality": worth,
}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, prog=Path(__file__).name
    )
    parser.add_argument("--only", default=",".join(ROWS), help=f"rows of the table, of {', '.join(ROWS)}")
    parser.add_argument("--sizes", default="60,240,1000", help="MB of text; the first one is used where one is enough")
    parser.add_argument("--workers", type=int, default=2, help="workers of the jobs that use several")
    parser.add_argument("--small-files", type=int, default=SMALL_FILES)
    parser.add_argument("--peers", default=sys.executable, help="a Python that has the peers")
    parser.add_argument("--earlier", type=Path, help="the source tree of an earlier version")
    parser.add_argument("--texts", type=Path, nargs="*", default=[], help="further folders of text files")
    parser.add_argument("--folder", type=Path, help="where to write (default: a temporary folder)")
    options = parser.parse_args()
    names = options.only.split(",")
    if unknown := sorted(set(names) - set(ROWS)):
        parser.error(f"--only: {', '.join(unknown)} is none of {', '.join(ROWS)}")
    folder = Path(tempfile.mkdtemp(dir=options.folder))
    paragraphs = corpus.sources(options.texts)
    sizes = tuple(int(size) for size in options.sizes.split(","))
    bench = Bench(folder, sizes, options.workers, options.peers, options.earlier, options.small_files, paragraphs)
    parts = ", ".join(f"{name} {sum(map(len, texts)) / MB:.1f} MB" for name, texts in paragraphs.items())
    print(f"Real text: {parts}. Planted: {corpus.EXACT:.0%} exact and {corpus.NEAR:.0%} near copies.\n")
    print(
        "| row | data | CPU-s | a CPU-s | wall s | driver | peak MB | beside, aim |\n|---|---|---|---|---|---|---|---|"
    )
    try:
        for name in names:
            ROWS[name](bench)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
