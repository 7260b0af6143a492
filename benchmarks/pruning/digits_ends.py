"""Digits through the command line: what keeping the hard and the easy end of every difficulty score is worth.

Usage: python benchmarks/pruning/digits_ends.py [--splits 10]

Every split draws 1,000 training and 797 test digits. `curate score` scores the training rows, `curate prune` keeps 40 %
and 20 % of them by each score with `--rule hard` and `--rule easy`, and a logistic regression learns from what is
kept. Random rows are drawn by `curate prune --rule sample --temperature inf`, with four seeds a split. One table:
test accuracy in %, its standard error over the splits, and whether the end is above random by more than two standard
errors of the difference (+), or below it (-). `memorization` reads 40 logistic regressions, each trained on 70 % of the
training rows; `disagreement` and `dichotomy` read ten of them.
"""

import argparse
import io
import time
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import polars as pl
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from curate import member_help
from pipelines.shared.cli import run

TRAINING_ROWS, KEEP = 1000, (0.4, 0.2)
MODELS, VOTERS, SUBSET = 40, 10, 0.7  # models of memorization, models of the ensemble, share that each is trained on
RANDOM_SEEDS = 4  # of each split
EARLY = "epochs=1,logits=true"  # el2n and grand take an early epoch, as their paper does
ALL = "epochs=0+1+2+3+4+5+6+7+8+9"
OF_TRAINING = (
    *("dynamics:checkpoints=10,embedding=emb.x", f"el2n:{EARLY}", f"grand:{EARLY},embedding=emb.x", f"aum:{ALL}"),
    *(f"forgetting:{ALL},logits=true", f"cartography:{ALL},logits=true"),
    *("prototypes:k=20,embedding=emb.x", "class_prototypes:embedding=emb.x"),
)
OF_MODELS = ("memorization", "disagreement", "dichotomy")
Rows = tuple[np.ndarray, np.ndarray]  # vectors (n, 64) and labels (n,)


def quiet(*words: object) -> None:
    """Run one command without its output."""
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        run(*words)


def frame_of(train: Rows, seed: int) -> pl.DataFrame:
    """Return the training rows as a data set, with what models that saw parts of them say of each."""
    x, y = train
    rng = np.random.default_rng((seed, 1))
    member = np.stack([rng.permutation(len(y)) < SUBSET * len(y) for _ in range(MODELS)], axis=1)
    models = [LogisticRegression(max_iter=300).fit(x[rows], y[rows]) for rows in member.T]
    correct = np.stack([model.predict(x) == y for model in models], axis=1)
    pixels = pl.Array(pl.Float32, x.shape[1])
    return pl.DataFrame(
        {"id": [f"r{i}" for i in range(len(y))], "source": "digits", "label": y},
    ).with_columns(
        pl.Series("emb.x", x, dtype=pixels),
        pl.Series("member", member.tolist()),
        pl.Series("correct", correct.tolist()),
        *(pl.Series(f"probs.{i}", models[i].predict_proba(x).tolist()) for i in range(VOTERS)),
    )


def accuracy(train: Rows, rows: np.ndarray, test: Rows) -> float:
    model = LogisticRegression(max_iter=300).fit(train[0][rows], train[1][rows])
    return float(model.score(*test))


def kept(folder: Path) -> np.ndarray:
    """Return the places of the kept rows."""
    (path,) = folder.glob("*.keep.parquet")
    return np.flatnonzero(pl.read_parquet(path)["keep"].to_numpy())


def split(seed: int, folder: Path) -> dict[tuple[str, str, float], float]:
    """Return the accuracy of each score, end and share on one split; that of random rows is a mean over seeds."""
    digits = load_digits()
    x, y = (digits.data / 16).astype(np.float32), digits.target
    order = np.random.default_rng(seed).permutation(len(y))
    train, test = ((x[rows], y[rows]) for rows in (order[:TRAINING_ROWS], order[TRAINING_ROWS:]))
    data, result = folder / "rows.parquet", {}
    frame_of(train, seed).write_parquet(data)
    result["all rows", "", 1.0] = accuracy(train, np.arange(TRAINING_ROWS), test)
    for name, specs in (("training", OF_TRAINING), ("models", OF_MODELS)):
        scores = folder / name
        quiet("score", data, *(word for spec in specs for word in ("--scorer", spec)), "--workers", 1, "--out", scores)
        meanings = [member_help.meanings(spec.partition(":")[0]) for spec in specs]
        for column in (column for declared in meanings for column in declared):
            for rule in ("hard", "easy"):
                for keep in KEEP:
                    words = ("prune", scores, "--by", column, "--rule", rule, "--keep", keep, "--seed", seed)
                    quiet(*words, "--out", folder / "kept")
                    result[column, rule, keep] = accuracy(train, kept(folder / "kept"), test)
    for keep in KEEP:
        values = []
        for again in range(RANDOM_SEEDS):
            words = ("prune", folder / "training", "--by", "tokens", "--rule", "sample", "--temperature", "inf")
            quiet(*words, "--keep", keep, "--seed", 100 * seed + again, "--out", folder / "kept")
            values.append(accuracy(train, kept(folder / "kept"), test))
        result["random", "", keep] = float(np.mean(values))
    return result


def cell(values: np.ndarray, random: np.ndarray) -> str:
    """Return a mean with its standard error, and + or - where it differs from random by two standard errors."""
    difference = values - random
    error = difference.std(ddof=1) / len(values) ** 0.5
    sign = "" if abs(difference.mean()) <= 2 * error else "+" if difference.mean() > 0 else "-"
    return f"{100 * values.mean():.1f} +-{100 * values.std(ddof=1) / len(values) ** 0.5:.1f} {sign}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--splits", type=int, default=10)
    splits = parser.parse_args().splits
    parts = []
    for seed in range(splits):
        with TemporaryDirectory() as name:
            parts.append(split(seed, Path(name)))
    cells = {key: np.array([part[key] for part in parts]) for key in parts[0]}
    print("| score | meaning | hard 40 % | easy 40 % | hard 20 % | easy 20 % |\n|---|---|---|---|---|---|")
    random = [cell(cells["random", "", keep], cells["random", "", keep]) for keep in KEEP]
    print(f"| random | | {random[0]} | {random[0]} | {random[1]} | {random[1]} |")
    names = [spec.partition(":")[0] for spec in (*OF_TRAINING, *OF_MODELS)]
    declared = {column: meaning for name in names for column, meaning in member_help.meanings(name).items()}
    for column, meaning in declared.items():
        pairs = [(rule, keep) for keep in KEEP for rule in ("hard", "easy")]
        shown = [cell(cells[column, rule, keep], cells["random", "", keep]) for rule, keep in pairs]
        print(f"| `{column.removeprefix('score.')}` | {meaning} | {' | '.join(shown)} |")
    print(
        f"\nall rows: {100 * cells['all rows', '', 1.0].mean():.1f}; {splits} splits; {time.process_time():.0f} CPU-s"
    )


if __name__ == "__main__":
    main()
