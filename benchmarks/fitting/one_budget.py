"""Laws for many mixtures at one budget, by their error on held-out mixtures: ``benchmarks/fitting/one_budget.py``.

One table on standard output. Reads the tables of ``../shared/data/runs`` (``--data`` to override). One thread, about
two minutes. This table decided which laws `curate fit` compares by default where all runs have one budget.
"""

import argparse
import os
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import polars as pl

from curate.fitting.compare import compare
from curate.fitting.solver.multistart import FitOptions
from curate.runs.run_table import read
from curate.runs.runs import Runs

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "runs"
LAWS = (
    "mixing",
    "ces",
    "mixture_additive",
    "mixture_ces:linear=true",
    "boosted:base=ces",
    "gaussian",
    "gaussian:base=ces",
)
OPTIONS = FitOptions(starts=4, draws=1)  # accuracy needs no bootstrap


def tables(data: Path) -> dict[str, tuple[Runs, tuple[str, ...]]]:
    """The tables by name, with the evals to fit."""
    regmix, pile5 = read(data / "regmix_1m.csv"), read(data / "pile5_70m.csv", where="tokens = 3e10")
    few = {f"RegMix 1M, first {n}": (read(regmix.frame.head(n)), ("pile_cc", "github")) for n in (40, 100)}
    return few | {
        "RegMix 1M, 512 mixtures": (regmix, ("pile_cc", "github")),
        "pile5 70M at 3e10 tokens, 26 mixtures": (pile5, ("ArXiv", "Github", "Pile-CC")),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=DATA)
    rows = []
    for name, (runs, evals) in tables(parser.parse_args().data).items():
        for law in LAWS:
            start, errors = time.process_time(), []
            for evaluation in evals:
                errors.append(compare([law], runs, [evaluation], how="mixture", options=OPTIONS).rows["heldout"][0])
            mean = None if None in errors else float(np.mean(errors))
            rows.append(
                {
                    "table": name,
                    "law": law,
                    "error": "too few runs" if mean is None else f"{mean:.2%}",
                    "CPU-s": f"{time.process_time() - start:.0f}",
                }
            )
    with pl.Config(tbl_rows=-1, tbl_hide_dataframe_shape=True, tbl_hide_column_data_types=True, fmt_str_lengths=60):
        print(pl.DataFrame(rows))


if __name__ == "__main__":
    main()
