"""Does pruning pay? Train the same small transformer on what several ways of pruning keep, at equal tokens.

Usage: python benchmarks/pruning_pays.py [--mb 60] [--tokens 1.5e6] [--seeds 3] [--workers 2] [--folder DIR]

The data are texts of the packages of this machine, with the junk that occurs in them: documentation and code, but also
change logs, copies of licences, headers, tables, minified scripts, translations and generated files. Two targets are
clean and not in the data: prose (documentation) and code (the standard library of Python). `dsir` learns from other
files of the same kinds. Rows are scored once with `curate score` (it needs the extra `language`), and every way of
pruning is one `curate prune` (`pays/ways.py`). Each way trains `tiny` on the same number of bytes, so that a way that
keeps few rows repeats them.

The first table says what each way trains on: megabytes, passes over the part that is read most often, and the share of
each source, in percent. The second table has the loss on both targets, in nats per byte, with the 95 % interval of the
mean over seeds, and the difference to training on all rows, paired by seed. Below 0 pruning pays. Random rows and
ratios of whole sources tell apart why: from few texts, from the mixture of sources, or from the choice within them.

The first table is printed before the training, and each loss on stderr when it is measured. With --seeds 0 nothing is
trained. With --folder, texts, scores and what each way keeps stay there and are used again.
"""

import argparse
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np
import polars as pl
from pays import texts, ways
from pays.ways import ALL, WAYS, Kept
from scipy.stats import t as student

from curate.engines.local import Local
from curate.pool.pool import Budget
from curate.runs import trainer_data
from curate.trainers.tiny import Tiny

PARAMS = 2e5
Losses = dict[tuple[str, int], dict[str, float]]  # by way and seed: the loss on each target


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mb", type=float, default=60)
    parser.add_argument("--tokens", type=float, default=1.5e6)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        kept = pruned(folder, options.mb * 1e6)
        print(f"{options.mb:g} MB of rows; passes at {options.tokens:.3g} bytes of training")
        print(table([kept_row(name, keep, options.tokens) for name, keep in kept.items()]), flush=True)
        if options.seeds:
            losses = trained(folder, kept, options.tokens, options.seeds, options.workers)
            print(f"{options.tokens:.3g} bytes, {PARAMS:.2g} parameters, {options.seeds} seeds; nats per byte")
            print(table([loss_row(name, losses, options.seeds) for name in kept]))


def pruned(folder: Path, size: float) -> dict[str, Kept]:
    """Write and score the data, and prune them in every way."""
    if not (folder / "data").exists():
        texts.write(folder, size)
    scored = ways.score(folder / "data", folder / "examples", folder / "scores")
    kept = dict[str, Kept]()
    for way in WAYS:
        kept[way.name] = way.keep(replace(scored, kept=kept))
    return kept


def trained(folder: Path, kept: Mapping[str, Kept], tokens: float, seeds: int, workers: int) -> Losses:
    """Train on what every way keeps, once for each seed."""
    targets = {name: folder / "targets" / f"{name}.jsonl" for name in texts.CLEAN}
    pools = {pool.name: pool for keep in kept.values() for pool in keep.pools}
    trainer = cast(Tiny, trainer_data.load("tiny", list(pools.values()), targets).trainer)
    tasks = [
        Training(trainer, name, keep.weights, tokens, seed) for seed in range(seeds) for name, keep in kept.items()
    ]
    losses = Losses()
    for done, loss in Local(workers).run(train, [task.small for task in tasks]):
        losses[done] = loss
        print(done, loss, file=sys.stderr, flush=True)
    return losses


@dataclass(frozen=True)
class Training:
    """One run: what is trained, the way of pruning, the share of each pool, the bytes of training, and the seed."""

    trainer: Tiny
    way: str
    weights: Mapping[str, float]
    tokens: float
    seed: int

    @property
    def small(self) -> "Training":
        """The same run without the texts of pools that it does not read: a run is sent to a worker."""
        pools = {name: data for name, data in self.trainer.pools.items() if name in self.weights}
        return replace(self, trainer=replace(self.trainer, pools=pools))


def train(run: Training) -> tuple[tuple[str, int], dict[str, float]]:
    """Train one model, and return its losses on the targets."""
    return (run.way, run.seed), run.trainer.train(run.weights, Budget(run.tokens, PARAMS), seed=run.seed)


def kept_row(name: str, keep: Kept, tokens: float) -> dict[str, str]:
    """Return one line of the table of what is kept."""
    size = {pool.name: 4 * pool.tokens for pool in keep.pools}  # bytes, since tokens are a quarter of them
    passes = max(weight * tokens / size[pool] for pool, weight in keep.weights.items())
    total = sum(keep.tokens.values())
    shares = {source: f"{100 * keep.tokens.get(source, 0) / total:.1f}" for source in texts.SHARE}
    return {"trained on": name, "MB": f"{sum(size.values()) / 1e6:.2f}", "passes": f"{passes:.2f}", **shares}


def loss_row(name: str, losses: Losses, seeds: int) -> dict[str, str]:
    """Return one line of the table of losses."""
    line = {"trained on": name}
    for target in texts.CLEAN:
        values = np.array([losses[name, seed][target] for seed in range(seeds)])
        reference = np.array([losses[ALL, seed][target] for seed in range(seeds)])
        line[target] = with_interval(values)
        line[f"{target}, to all rows"] = "-" if name == ALL else with_interval(values - reference)
    return line


def with_interval(values: np.ndarray) -> str:
    """Return the mean of values (seeds,), with half the width of its 95 % interval."""
    n = len(values)
    half = student.ppf(0.975, n - 1) * values.std(ddof=1) / np.sqrt(n) if n > 1 else np.nan
    return f"{values.mean():.4f} +- {half:.4f}"


def table(rows: Sequence[Mapping[str, str]]) -> str:
    """Return rows as a table."""
    with pl.Config(tbl_rows=-1, tbl_cols=-1, tbl_width_chars=200, tbl_hide_dataframe_shape=True, fmt_str_lengths=60):
        return str(pl.DataFrame(rows))


if __name__ == "__main__":
    main()
