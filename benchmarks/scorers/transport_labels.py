"""Does transport find wrong labels: python benchmarks/scorers/transport_labels.py [--seeds 5]

Handwritten digits of scikit-learn: 500 rows with right labels are the target; a tenth of the other 1,297 get the label
of another class, and `curate.score` scores these rows. AUC: the chance that a wrong label scores lower than a right
one; mean of the seeds, and their standard deviation. `label_quality` reads what `dynamics:folds=5` makes, and has no
target: on the last line it learns from the target's rows too.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import polars as pl
from label_errors import area, digits

from curate.scoring.score import score

TARGET_ROWS, WRONG = 500, 0.1
TRANSPORT = "transport_value:target={target},embedding=emb.x"
QUALITY = ("dynamics:folds=5,embedding=emb.x", "label_quality")
WAYS = {
    "transport_value, no labels": (TRANSPORT,),
    "transport_value, class_weight=0.5": (TRANSPORT + ",labels=true,class_weight=0.5",),
    "transport_value, class_weight=1": (TRANSPORT + ",labels=true",),
    "transport_value, class_weight=2": (TRANSPORT + ",labels=true,class_weight=2",),
    "label_quality": QUALITY,
    "label_quality, target rows too": QUALITY,
}


def frame(x: np.ndarray, y: np.ndarray) -> pl.DataFrame:
    vectors = pl.Series("emb.x", x, dtype=pl.Array(pl.Float32, x.shape[1]))
    return pl.DataFrame({"id": [f"r{i}" for i in range(len(x))], "label": y}).with_columns(vectors)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    arguments = parser.parse_args()
    x, truth = digits()
    areas: dict[str, list[float]] = {way: [] for way in WAYS}
    seconds = dict.fromkeys(WAYS, 0.0)
    for seed in range(arguments.seeds):
        rng = np.random.default_rng(seed)
        order = rng.permutation(len(x))
        target, rows = order[:TARGET_ROWS], order[TARGET_ROWS:]
        bad = rng.random(len(rows)) < WRONG
        y = np.where(bad, (truth[rows] + rng.integers(1, 10, len(rows))) % 10, truth[rows])
        with tempfile.TemporaryDirectory() as name:
            path = Path(name) / "target.parquet"
            frame(x[target], truth[target]).write_parquet(path)
            for i, (way, specs) in enumerate(WAYS.items()):
                more = "too" in way
                data = (
                    frame(np.concatenate([x[rows], x[target]]), np.append(y, truth[target]))
                    if more
                    else frame(x[rows], y)
                )
                began = time.process_time()
                scores = (
                    score(data, [spec.format(target=path) for spec in specs], Path(name) / str(i)).scores().collect()
                )
                seconds[way] += time.process_time() - began
                column = f"score.{'label_quality' if 'quality' in way else 'transport_value'}"
                areas[way].append(area(bad, -scores[column].to_numpy()[: len(rows)]))
    print(f"{'digits, a tenth of 1,297 labels wrong':40}{'AUC':>16}{'CPU s':>8}")
    for way, values in areas.items():
        told = f"{np.mean(values):.3f} +-{np.std(values, ddof=1):.3f}"
        print(f"{way:40}{told:>16}{seconds[way] / len(values):8.1f}")


if __name__ == "__main__":
    main()
