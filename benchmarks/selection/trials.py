"""Trainings for `transport.py`: mixtures of skewed or noisy sources of images at several sizes, kept on disk.

A source is a law over one stock of images: which classes it favours and how often its labels are wrong. A mixture of N
examples draws a source for each example, then an image and a label from it. Every (setting, model) is trained once per
mixture, size and repeat, and cached as an npz of accuracies on a clean test set.
"""

import gzip
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression

from curate.transport.ground_cost import Samples, TransportProblem, problem

HIDDEN, RATE, EPOCHS = 32, 0.01, 200  # the small network: full-batch Adam
SEEN = 300  # samples of a source that the buyer sees, and of the target


@dataclass(frozen=True, eq=False)
class Images:
    """A stock to draw from, the buyer's target samples and a test set: features (n, d) and labels (n,) of each."""

    name: str
    stock: tuple[np.ndarray, np.ndarray]
    target: tuple[np.ndarray, np.ndarray]
    test: tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True, eq=False)
class Setting:
    """p sources: ``classes`` (p, k) shares of classes, ``noise`` (p,) rates of wrong labels; ``mixtures`` (m, p)."""

    name: str
    images: Images
    classes: np.ndarray
    noise: np.ndarray
    mixtures: np.ndarray
    sizes: tuple[int, ...] = (100, 200, 400, 800)
    repeats: int = 3

    def draw(self, weights: np.ndarray, count: int, seed: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """Return features (count, d) and labels (count,) of a mixture."""
        rng = np.random.default_rng([sum(map(ord, self.name)), *seed])
        x, y = self.images.stock
        k = self.classes.shape[1]
        of = rng.choice(len(weights), size=count, p=weights)
        drawn = (rng.random(count)[:, None] > self.classes[of].cumsum(axis=1)).sum(axis=1).clip(0, k - 1)
        order = np.argsort(y, kind="stable")
        first, sizes = np.searchsorted(y[order], np.arange(k)), np.bincount(y, minlength=k)
        rows = order[first[drawn] + (rng.random(count) * sizes[drawn]).astype(int)]
        wrong = rng.random(count) < self.noise[of]
        labels = np.where(wrong, (drawn + rng.integers(1, k, count)) % k, drawn)
        return x[rows], labels

    def seen(self, seed: int, *, labels: bool = True, limit: int = 2000) -> TransportProblem:
        """Return what the buyer sees: samples of each source on its own and of the target."""
        p = len(self.noise)
        shown = {}
        for i in range(p):
            x, y = self.draw(np.eye(p)[i], SEEN, [10_000 + seed, i])
            shown[f"s{i}"] = Samples(x, y if labels else None)
        x, y = self.images.target
        return problem(shown, Samples(x, y if labels else None), seed=seed, limit=limit)


@dataclass(frozen=True, eq=False)
class Trials:
    """Accuracies (m, sizes, repeats), in [0, 1], of a setting under one model."""

    setting: Setting
    model: str
    accuracy: np.ndarray = field(repr=False)


def digits() -> Images:
    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(x))
    x, y = (x[order] / 16).astype(np.float32), y[order]
    cut = (SEEN, SEEN + 500)
    return Images(
        "digits", (x[cut[1] :], y[cut[1] :]), (x[: cut[0]], y[: cut[0]]), (x[cut[0] : cut[1]], y[cut[0] : cut[1]])
    )


def fashion(folder: Path) -> Images | None:
    """Fashion-MNIST idx files of Debian's dataset-fashion-mnist, as 64 principal components; None where absent."""
    files = {
        kind: sorted(folder.rglob(f"{kind}*"))
        for kind in ("train-images", "train-labels", "t10k-images", "t10k-labels")
    }
    if not all(files.values()):
        return None
    x, y, test_x, test_y = (_idx(paths[0]) for paths in files.values())
    x, test_x = (part.reshape(len(part), -1).astype(np.float32) / 255 for part in (x, test_x))
    shrink = PCA(64, random_state=0).fit(x[:10_000])
    x, test_x = (shrink.transform(part).astype(np.float32) / 4 for part in (x, test_x))
    return Images("fashion", (x[:20_000], y[:20_000]), (x[-SEEN:], y[-SEEN:]), (test_x[:2000], test_y[:2000]))


def _idx(path: Path) -> np.ndarray:
    raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    axes = raw[3]
    shape = struct.unpack(f">{axes}I", raw[4 : 4 + 4 * axes])
    return (
        np.frombuffer(raw, dtype=np.uint8, offset=4 + 4 * axes)
        .reshape(shape)
        .astype(np.int64 if axes == 1 else np.uint8)
    )


def grid(p: int, steps: int) -> np.ndarray:
    """All mixtures (m, p) with shares that are multiples of 1 / steps: 66 for three sources in tenths."""
    bars = np.array(list(combinations(range(steps + p - 1), p - 1)))
    edges = np.hstack([np.full((len(bars), 1), -1), bars, np.full((len(bars), 1), steps + p - 1)])
    return (np.diff(edges, axis=1) - 1) / steps


def spread(p: int, count: int) -> np.ndarray:
    """(count, p): uniform, the single sources, and draws near corners and in the middle."""
    rng = np.random.default_rng(1)
    drawn = [rng.dirichlet(np.full(p, [0.2, 0.5, 1.5][i % 3])) for i in range(count - p - 1)]
    return np.vstack([np.full((1, p), 1 / p), np.eye(p), *drawn])


def three(images: Images) -> list[Setting]:
    """A: each source favours three or four classes. B: wrong labels in 5, 30 and 55 %. D: both."""
    skew = np.full((3, 10), 0.02)
    for i, favoured in enumerate(((0, 1, 2, 3), (4, 5, 6), (7, 8, 9))):
        skew[i, list(favoured)] = 1.0
    skew /= skew.sum(axis=1, keepdims=True)
    even, mixtures = np.full((3, 10), 0.1), grid(3, 10)
    return [
        Setting("A", images, skew, np.zeros(3), mixtures),
        Setting("B", images, even, np.array([0.05, 0.3, 0.55]), mixtures),
        Setting("D", images, skew, np.array([0.0, 0.2, 0.4]), mixtures),
    ]


def eight(images: Images, *, repeats: int = 2) -> list[Setting]:
    """Eight sources with class shares drawn from Dirichlet(.3) and, in B8 and D8, label noise from 0 to 60 %."""
    rng = np.random.default_rng(8)
    skew, even = rng.dirichlet(np.full(10, 0.3), size=8), np.full((8, 10), 0.1)
    noise, mixtures = rng.permutation(np.linspace(0, 0.6, 8)), spread(8, 96)
    return [
        Setting("A8", images, skew, np.zeros(8), mixtures, repeats=repeats),
        Setting("B8", images, even, noise, mixtures, repeats=repeats),
        Setting("D8", images, skew, noise, mixtures, repeats=repeats),
    ]


def train(setting: Setting, model: str, cache: Path) -> Trials:
    """Train everything, or read what was trained."""
    path = cache / f"{setting.images.name}-{setting.name}-{model}.npz"
    if path.is_file():
        with np.load(path) as saved:
            return Trials(setting, model, saved["accuracy"])
    accuracy = np.zeros((len(setting.mixtures), len(setting.sizes), setting.repeats))
    for j, size in enumerate(setting.sizes):
        for r in range(setting.repeats):
            drawn = [setting.draw(w, size, [i, j, r]) for i, w in enumerate(setting.mixtures)]
            accuracy[:, j, r] = (logistic if model == "logistic" else network)(drawn, setting, r)
    cache.mkdir(parents=True, exist_ok=True)
    np.savez(path, accuracy=accuracy)
    return Trials(setting, model, accuracy)


def accuracy(weights: np.ndarray, setting: Setting, model: str, size: int, repeats: int, cache: Path) -> np.ndarray:
    """(k,) mean accuracy of any mixtures (k, p), trained on the spot and remembered: for the truth of a selection."""
    path = cache / f"{setting.images.name}-{setting.name}-{model}-{size}x{repeats}-more.npz"
    accuracies: dict[str, float] = {}
    if path.is_file():
        with np.load(path) as saved:
            accuracies = dict(zip(saved["key"].tolist(), saved["value"].tolist(), strict=True))
    keys = [",".join(f"{x:.3f}" for x in row) for row in weights]
    todo = sorted(set(keys) - set(accuracies))
    for r in range(repeats if todo else 0):
        drawn = [setting.draw(_shares(key), size, [20_000, r]) for key in todo]
        totals = (logistic if model == "logistic" else network)(drawn, setting, r)
        for key, value in zip(todo, totals.tolist(), strict=True):
            accuracies[key] = accuracies.get(key, 0.0) + value / repeats
    if todo:
        np.savez(path, key=np.array(list(accuracies)), value=np.array(list(accuracies.values())))
    return np.array([accuracies[key] for key in keys])


def _shares(key: str) -> np.ndarray:
    w = np.array([float(x) for x in key.split(",")])
    return w / w.sum()


def logistic(drawn: Sequence[tuple[np.ndarray, np.ndarray]], setting: Setting, seed: int) -> np.ndarray:
    test_x, test_y = setting.images.test
    accuracies = []
    for x, y in drawn:
        if len(np.unique(y)) < 2:
            accuracies.append(float((test_y == y[0]).mean()))
            continue
        accuracies.append(LogisticRegression(C=1.0, max_iter=300, tol=1e-3).fit(x, y).score(test_x, test_y))
    return np.array(accuracies)


def network(drawn: Sequence[tuple[np.ndarray, np.ndarray]], setting: Setting, seed: int) -> np.ndarray:
    """Train one network a data set, all in one batch of matrix products: 32 hidden units, full-batch Adam."""
    x = torch.from_numpy(np.stack([features for features, _ in drawn]))
    y = torch.from_numpy(np.stack([labels for _, labels in drawn]))
    m, _, d = x.shape
    k = setting.classes.shape[1]
    rng = torch.Generator().manual_seed(seed)

    def start(fan: int, out: int) -> torch.Tensor:
        layer = torch.randn(1, fan, out, generator=rng) * (2 / fan) ** 0.5
        return layer.repeat(m, 1, 1).requires_grad_()

    parts = [
        start(d, HIDDEN),
        torch.zeros(m, 1, HIDDEN, requires_grad=True),
        start(HIDDEN, k),
        torch.zeros(m, 1, k, requires_grad=True),
    ]
    adam = torch.optim.Adam(parts, lr=RATE, weight_decay=1e-4)

    def logits(inputs: torch.Tensor) -> torch.Tensor:
        return torch.relu(inputs @ parts[0] + parts[1]) @ parts[2] + parts[3]

    for _ in range(EPOCHS):
        adam.zero_grad()
        total = torch.nn.functional.cross_entropy(logits(x).flatten(0, 1), y.flatten(), reduction="sum")
        (total / y.shape[1]).backward()
        adam.step()
    test_x, test_y = (torch.from_numpy(part) for part in setting.images.test)
    with torch.no_grad():
        guess = logits(test_x.expand(m, -1, -1)).argmax(dim=2)
    return (guess == test_y).double().mean(dim=1).numpy()
