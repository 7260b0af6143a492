"""Which metric finds label errors: python benchmarks/scorers/label_errors.py [--data FOLDER] [--fashion FOLDER]
[--peer PYTHON]

AUC: the chance that a wrong label looks worse than a right one. Human-verified: out-of-sample probabilities, given
labels and votes of five raters a row (cleanlab/label-errors; an error is a row for which fewer than three chose the
given label). Planted: a tenth of the labels of images moved to another class, the metrics' columns made by `dynamics`;
mean of seeds. ``--fashion`` is a folder with the idx files of Debian's dataset-fashion-mnist. ``--peer`` is the Python
of an environment with cleanlab. Every figure of ours is of score files that `curate score` wrote. Of imdb only bounds
can be had without the file that says which row is which review: errors are among the rows predicted otherwise.
"""

import argparse
import gzip
import json
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl
from scipy.stats import rankdata

from curate.scoring import score

ORDER = "imdb_test_set_index_to_filename.json"  # of cleanlab/label-errors: ids of imdb are files in a disk's own order
SETS = ("cifar10", "mnist", "20news", "imdb")
WORST = {  # the end at which a label error is expected
    "el2n": 1,
    "grand": 1,
    "forgetting": 1,
    "dichotomy": 1,
    "disagreement": 1,
    "memorization": 1,
    "aum": -1,
    "rho": -1,
    "cartography_confidence": -1,
    "cartography_variability": -1,
    "cartography_correctness": -1,
    "label_quality": -1,
    "label_joint": -1,
}
PEER = """
import json, sys, time, warnings
warnings.filterwarnings("ignore")
import numpy as np
from cleanlab.rank import get_label_quality_scores
from cleanlab.filter import find_label_issues
with np.load(sys.argv[1]) as saved:
    p, y = np.clip(saved["p"], 0, 1), saved["y"].astype(int)
began, scores = time.process_time(), {}
for method in ("normalized_margin", "self_confidence", "confidence_weighted_entropy"):
    for adjust in (False, True)[: 1 if method == "confidence_weighted_entropy" else 2]:
        scores[method + (", adjusted" if adjust else "")] = get_label_quality_scores(
            y, p, method=method, adjust_pred_probs=adjust).tolist()
issues = find_label_issues(y, p, filter_by="confident_learning", n_jobs=1)
scores["confident_learning"] = (~issues).astype(float).tolist()
print(json.dumps({"scores": scores, "cpu": time.process_time() - began}))
"""


def area(bad: np.ndarray, badness: np.ndarray) -> float:
    """The chance that a bad row ranks above a good one, ties counted half."""
    ranks = rankdata(badness)
    return (ranks[bad].sum() - bad.sum() * (bad.sum() + 1) / 2) / (bad.sum() * (~bad).sum())


def bounds(many: int, suspects: np.ndarray) -> tuple[float, float]:
    """Least and largest AUC of ``many`` errors that lie among the suspects, who rank above everyone else."""
    rest = len(suspects) - suspects.sum()
    return float(rest / (len(suspects) - many)), 1.0


def scored(rows: pl.DataFrame, *specs: str) -> dict[str, np.ndarray]:
    """Metric -> (n,) badness; and (epochs, n, c) logits where they were made."""
    with tempfile.TemporaryDirectory() as folder:
        rows.write_parquet(Path(folder) / "rows.parquet")
        score.score([f"{folder}/rows.parquet"], specs, Path(folder) / "out")
        table = pl.read_parquet(f"{folder}/out/rows.parquet.scores.parquet")
    scores = {c.removeprefix("score."): table[c].to_numpy() for c in table.columns if c.startswith("score.")}
    logits = [table[c].to_numpy().astype(np.float64) for c in table.columns if c.startswith("logits.")]
    return {name: WORST[name] * v for name, v in scores.items()} | ({"logits": np.stack(logits)} if logits else {})


def cleanlab(python: str | None, p: np.ndarray, y: np.ndarray) -> tuple[dict[str, np.ndarray], float]:
    """Badness by each of cleanlab's scores, and its CPU-seconds."""
    if python is None:
        return {}, 0.0
    with tempfile.TemporaryDirectory() as folder:
        np.savez(f"{folder}/in.npz", p=p, y=y)
        run = subprocess.run([python, "-c", PEER, f"{folder}/in.npz"], capture_output=True, text=True, check=True)
    record = json.loads(run.stdout.splitlines()[-1])
    return {f"cleanlab {name}": -np.array(values) for name, values in record["scores"].items()}, record["cpu"]


def verified(folder: Path, name: str, python: str | None) -> dict[str, str]:
    """AUC of every metric on one set of human-verified errors, as text."""
    p = np.load(folder / f"{name}_test_set_pyx.npy")
    y = np.load(folder / f"{name}_test_set_original_labels.npy").astype(np.int64)
    votes = json.loads((folder / f"{name}_mturk.json").read_text())
    errors = [row["id"] for row in votes if row["mturk"]["given"] < 3]
    suspects = p.argmax(axis=1) != y
    label = {"set": f"{name}: {len(errors)} of {len(y)}"}
    if name == "imdb" and not (order := folder / ORDER).exists():
        low, high = bounds(len(errors), suspects)
        return label | {"any ranking of the label's probability": f"{low:.3f} to {high:.3f}"}
    if name == "imdb":
        places = {f"test/{file.removesuffix('.txt')}": i for i, file in enumerate(json.loads(order.read_text()))}
        errors = [places[error] for error in errors]
    rows = pl.DataFrame(
        {
            "id": [f"{name}{i}" for i in range(len(y))],
            "label": y,
            "probs.0": pl.Series(p, dtype=pl.Array(pl.Float64, p.shape[1])),
        }
    )
    began = time.process_time()
    badness = scored(rows, "el2n", "aum", "cartography", "dichotomy", "label_quality")
    badness["self_confidence"] = scored(rows, "label_quality:by=self_confidence")["label_quality"]
    cpu = time.process_time() - began
    peers, theirs = cleanlab(python, p, y)
    bad = np.zeros(len(y), dtype=bool)
    bad[errors] = True
    assert suspects[errors].all()
    shown = {
        k: v for k, v in (badness | peers).items() if k not in ("cartography_variability", "cartography_confidence")
    }
    return label | {k: f"{area(bad, v):.4f}" for k, v in shown.items()} | {"CPU-s": f"{cpu:.2f} / {theirs:.2f}"}


def planted(x: np.ndarray, truth: np.ndarray, python: str | None, seeds: int, models: int) -> dict[str, list[float]]:
    """AUC of every metric, a number a seed; ``models`` on random 70 % subsets for memorization."""
    areas: dict[str, list[float]] = {}
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        bad = rng.random(len(x)) < 0.1
        c = int(truth.max()) + 1
        y = np.where(bad, (truth + rng.integers(1, c, len(x))) % c, truth)
        ids = [f"{seed}-{i}" for i in range(len(x))]
        rows = pl.DataFrame({"id": ids, "label": y, "emb.x": pl.Series(x, dtype=pl.Array(pl.Float32, x.shape[1]))})
        metrics = ("el2n", "grand:embedding=emb.x", "forgetting", "aum", "cartography", "dichotomy", "disagreement")
        maker = f"dynamics:embedding=emb.x,seed={seed}"
        badness = {k: v for k, v in scored(rows, maker, *metrics, "rho").items() if k != "logits"}
        badness["el2n, first epoch"] = scored(rows, maker, "el2n:epochs=0")["el2n"]
        apart = scored(rows, f"{maker},folds=5", *metrics, "label_quality")
        each = softmax(apart.pop("logits"))
        badness |= {f"{k}, out of sample": v for k, v in apart.items()}
        badness |= {f"{k}, out of sample": v for k, v in cleanlab(python, each.mean(axis=0), y)[0].items()}
        last = scored(rows, f"{maker},folds=5", "label_quality:epochs=9")
        badness |= {f"{k}, out of sample, last epoch": v for k, v in last.items() if k != "logits"}
        badness |= {f"{k}, out of sample, last epoch": v for k, v in cleanlab(python, each[-1], y)[0].items()}
        if models:
            badness["memorization"] = scored(rows.hstack(subsets(x, y, models, rng)), "memorization")["memorization"]
        for name, values in badness.items():
            areas.setdefault(name, []).append(area(bad, values))
    return areas


def softmax(logits: np.ndarray) -> np.ndarray:
    p = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return p / p.sum(axis=-1, keepdims=True)


def subsets(x: np.ndarray, y: np.ndarray, models: int, rng: np.random.Generator) -> pl.DataFrame:
    """``member`` and ``correct`` of logistic regressions on random 70 % of the rows."""
    from sklearn.linear_model import LogisticRegression

    member = rng.random((models, len(x))) < 0.7
    right = np.array([LogisticRegression(C=10, max_iter=200).fit(x[m], y[m]).predict(x) == y for m in member])
    return pl.DataFrame({"member": member.T.tolist(), "correct": right.T.tolist()})


def digits() -> tuple[np.ndarray, np.ndarray]:
    """1,797 images of 8 x 8 that come with scikit-learn."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    return (x / 16).astype(np.float32), y


def fashion(folder: Path, rows: int = 10_000) -> tuple[np.ndarray, np.ndarray]:
    """The first training images, pixels in [0, 1]."""

    def read(name: str, skip: int) -> np.ndarray:
        path = next(folder.rglob(f"{name}*"))
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        return np.frombuffer(raw, dtype=np.uint8, offset=skip)

    x = read("train-images-idx3-ubyte", 16).reshape(-1, 784)[:rows]
    return (x / 255).astype(np.float32), read("train-labels-idx1-ubyte", 8)[:rows].astype(np.int64)


def table(columns: dict[str, dict[str, str]]) -> str:
    """Metrics down, sets across."""
    names = list(dict.fromkeys(name for column in columns.values() for name in column))
    lines = ["| metric | " + " | ".join(columns) + " |", "|---|" + "---|" * len(columns)]
    lines += [
        "| " + " | ".join([name, *(column.get(name, "-") for column in columns.values())]) + " |" for name in names
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data/label_errors"))
    parser.add_argument("--fashion", type=Path)
    parser.add_argument("--peer", help="Python of an environment with cleanlab")
    parser.add_argument("--seeds", type=int, default=5)
    arguments = parser.parse_args()
    if arguments.data.exists():
        results = [verified(arguments.data, name, arguments.peer) for name in SETS]
        print("Human-verified label errors, AUC (CPU-s: ours with reading and writing / cleanlab's scores alone)\n")
        print(table({result.pop("set"): result for result in results}) + "\n")
    else:
        print(f"Human-verified errors skipped: {arguments.data} is not there; name it by --data\n")
    sets = {"digits, 1,797 x 64": (*digits(), 40)}
    if arguments.fashion is not None:
        sets["Fashion-MNIST, 10,000 x 784"] = (*fashion(arguments.fashion), 0)
    columns = {}
    for name, (x, truth, models) in sets.items():
        began = time.process_time()
        areas = planted(x, truth, arguments.peer, arguments.seeds, models)
        ordered = sorted(areas.items(), key=lambda item: -np.mean(item[1]))
        columns[name] = {k: f"{np.mean(v):.4f} ({np.std(v, ddof=1):.4f})" for k, v in ordered}
        columns[name]["CPU-s"] = f"{time.process_time() - began:.0f}"
    print(f"Planted errors, a tenth of the labels: mean AUC of {arguments.seeds} seeds (standard deviation)\n")
    print(table(columns))


if __name__ == "__main__":
    main()
