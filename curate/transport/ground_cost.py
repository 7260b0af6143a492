"""Samples of sources and of a target on one fixed pool, and the ground cost between any two of them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from curate.errors import SchemaError

LIMIT = 2000  # points a side: the best mixture then lies within .02 in L1 of the population's (our trials, digits)
EXACT = 256  # samples of a class in an exact class distance; the cost is cubic
BLOCK = 1 << 20  # cost cells made at a time: 4 MB of float32 stay in the cache


@dataclass(frozen=True, eq=False)
class Samples:
    """``features`` (n, d) and, where they are known, ``labels`` (n,) of any sortable kind (integers, strings)."""

    features: np.ndarray
    labels: np.ndarray | None = None

    def __len__(self) -> int:
        """Return n."""
        return len(self.features)


@dataclass(frozen=True, eq=False)
class Cost:
    """The cost between two clouds as a product: C = ``left`` (n, r) @ ``right`` (q, r).T, float32, never stored whole.

    A label table T adds one column a class: T[x's class, :] on the left, one-hot on the right. ``mean`` of C.
    """

    left: Tensor
    right: Tensor

    @cached_property
    def mean(self) -> float:
        """Return the mean cost, the natural unit of the regularisation."""
        return float(self.left.double().mean(dim=0) @ self.right.double().mean(dim=0))

    @property
    def shape(self) -> tuple[int, int]:
        """Return n and q."""
        return len(self.left), len(self.right)

    @property
    def blocks(self) -> Iterator[slice]:
        """Row ranges of about ``BLOCK`` cells."""
        n, q = self.shape
        step = max(1, BLOCK // q)
        return (slice(i, min(i + step, n)) for i in range(0, n, step))

    def dense(self) -> Tensor:
        """Return C (n, q), float32, at least 0: for exact solvers and tests."""
        return (self.left @ self.right.T).clamp_min(0)


@dataclass(frozen=True, eq=False)
class Cloud:
    """Kept samples of one side: ``features`` (n, d) float32, scaled; ``group`` (n,) of each, or None without labels;
    ``members``: the features (k, d) of every group, all samples and not only those kept."""

    features: Tensor
    group: Tensor | None
    members: tuple[np.ndarray, ...]


@dataclass(frozen=True, eq=False)
class TransportProblem:
    """p sources and a target, on one pool of samples that every mixture shares; nothing is drawn again.

    ``names`` of the p sources; ``source`` (n,) which of them a sample belongs to, ``rows`` (n,) its row there, and
    ``target_rows`` (q,). Costs are in units of ``scale``, the mean squared distance of target samples to their mean;
    ``classes`` says how classes are compared.
    """

    names: tuple[str, ...]
    source: Tensor
    rows: Tensor
    target_rows: Tensor
    pool: Cloud
    target: Cloud
    scale: float
    classes: str

    @cached_property
    def across(self) -> Cost:
        """Return the cost of pool (n) to target (q)."""
        return cost(self.pool, self.target, classes=self.classes)

    @cached_property
    def within(self) -> Cost:
        """Return the cost of the pool (n) with itself, for debiasing."""
        return cost(self.pool, self.pool, classes=self.classes)

    @cached_property
    def inside(self) -> Cost:
        """Return the cost of the target (q) with itself, for debiasing."""
        return cost(self.target, self.target, classes=self.classes)

    @cached_property
    def counts(self) -> Tensor:
        """(p,) samples of each source, float64."""
        return torch.bincount(self.source, minlength=len(self.names)).double()

    def masses(self, weights: Tensor) -> Tensor:
        """(m, n) mass of every sample in mixtures ``weights`` (m, p): w of its source over the source's samples."""
        return (weights.double() / self.counts)[:, self.source]

    def means(self, values: Tensor) -> Tensor:
        """(m, p) mean over each source of ``values`` (m, n)."""
        sums = values.new_zeros(len(values), len(self.names)).index_add_(1, self.source, values)
        return sums / self.counts

    def to(self, device: str) -> "TransportProblem":
        """Return the same problem on another device, where its costs, kernels and solves then live."""
        clouds = [
            Cloud(c.features.to(device), None if c.group is None else c.group.to(device), c.members)
            for c in (self.pool, self.target)
        ]
        return TransportProblem(
            self.names,
            self.source.to(device),
            self.rows.to(device),
            self.target_rows.to(device),
            clouds[0],
            clouds[1],
            scale=self.scale,
            classes=self.classes,
        )


def problem(
    sources: Mapping[str, Samples],
    target: Samples,
    *,
    labels: bool | None = None,
    classes: str = "gaussian",
    limit: int = LIMIT,
    seed: int = 0,
) -> TransportProblem:
    """Check the samples, thin them to ``limit`` a side and prepare their costs. Raises SchemaError.

    Features are centred on the target and divided by its root mean squared distance from its mean: one number, so that
    the encoder's geometry stays. Without labels C(x, x') = |x - x'|^2. With them (``labels``: None = where all sides
    have them) C = (|x - x'|^2 + W2^2(class of x in its source, class of x' in the target)) / 2, as in OTDD (Alvarez-
    Melis and Fusi 2020) and LAVA (Just et al. 2023); class distances are of Gaussians (``classes="gaussian"``, Bures)
    or between the samples (``"exact"``), and do not depend on the mixture. A source may lack classes. Thinning is even
    over sources and in proportion over classes.
    """
    named = {**{f"source {name!r}": cloud for name, cloud in sources.items()}, "the target": target}
    if not sources:
        raise SchemaError("no sources: give samples of at least one")
    for name, cloud in named.items():
        _check(name, cloud, target)
    use = _labelled(named, labels)
    rng = np.random.default_rng(seed)
    clouds = list(sources.values())
    shares = _allot([len(cloud) for cloud in clouds], limit)
    kept = [_thin(cloud, share, use, rng) for cloud, share in zip(clouds, shares, strict=True)]
    target_kept = _thin(target, limit, use, rng)
    y = np.asarray(target.features, dtype=np.float64)
    centre, scale = y.mean(axis=0), float(((y - y.mean(axis=0)) ** 2).sum(axis=1).mean())
    return TransportProblem(
        names=tuple(sources),
        source=torch.from_numpy(np.repeat(np.arange(len(kept)), [len(rows) for rows in kept])),
        rows=torch.from_numpy(np.concatenate(kept)),
        target_rows=torch.from_numpy(target_kept),
        pool=_cloud(clouds, kept, use, (centre, scale)),
        target=_cloud([target], [target_kept], use, (centre, scale)),
        scale=scale,
        classes=classes,
    )


def _labelled(named: Mapping[str, Samples], labels: bool | None) -> bool:
    have = [name for name, cloud in named.items() if cloud.labels is not None]
    lack = [name for name in named if name not in have]
    if labels is None and have and lack:
        raise SchemaError(f"{lack[0]} has no labels and {have[0]} has: give labels on every side, or set labels=False")
    if labels and lack:
        raise SchemaError(f"{lack[0]} has no labels: give them, or set labels=False for a cost of features alone")
    return bool(have) if labels is None else labels


def _cloud(clouds: Sequence[Samples], kept: Sequence[np.ndarray], use: bool, frame: tuple[np.ndarray, float]) -> Cloud:
    """Scale and concatenate; a group is a class of one source, numbered over all of them."""
    centre, scale = frame
    features, groups, members = [], [], list[np.ndarray]()
    for cloud, rows in zip(clouds, kept, strict=True):
        x = ((np.asarray(cloud.features, dtype=np.float64) - centre) / np.sqrt(scale)).astype(np.float32)
        features.append(x[rows])
        if use:
            codes = _codes(cloud)
            groups.append(len(members) + codes[rows])
            members += [x[codes == code] for code in range(int(codes.max()) + 1)]
    group = torch.from_numpy(np.concatenate(groups)) if use else None
    return Cloud(torch.from_numpy(np.concatenate(features)), group, tuple(members))


def _check(name: str, cloud: Samples, target: Samples) -> None:
    x = cloud.features
    if x.ndim != 2 or x.shape[1] == 0:
        raise SchemaError(f"{name}: features have shape {x.shape}, need (samples, width)")
    if x.shape[1] != target.features.shape[-1]:
        raise SchemaError(
            f"{name}: {x.shape[1]} features, the target has {target.features.shape[-1]}: use one encoder for all"
        )
    if len(x) < 2:
        raise SchemaError(f"{name}: {len(x)} samples tell nothing about a distribution: give at least 2, better 100")
    bad = ~np.isfinite(x).all(axis=1)
    if bad.any():
        at = int(np.argmax(bad))
        raise SchemaError(
            f"{name}: {int(bad.sum())} of {len(x)} samples have NaN or infinite features, first row {at}: drop or "
            "re-encode them"
        )
    if (x == x[0]).all():
        raise SchemaError(
            f"{name}: all {len(x)} samples have the same features: the encoder saw no difference, or rows are copies"
        )
    if cloud.labels is not None and len(cloud.labels) != len(x):
        raise SchemaError(f"{name}: {len(cloud.labels)} labels for {len(x)} samples: give one a sample")


def _allot(sizes: Sequence[int], limit: int) -> list[int]:
    """Samples to keep of each source: even shares of ``limit``; what small sources leave goes to the others."""
    shares, left = [0] * len(sizes), limit
    order = sorted(range(len(sizes)), key=lambda i: sizes[i])
    for done, i in enumerate(order):
        shares[i] = min(sizes[i], max(2, left // (len(sizes) - done)))
        left -= shares[i]
    return shares


def _codes(cloud: Samples) -> np.ndarray:
    assert cloud.labels is not None
    return np.unique(cloud.labels, return_inverse=True)[1].reshape(-1).astype(np.int64)


def _thin(cloud: Samples, count: int, stratify: bool, rng: np.random.Generator) -> np.ndarray:
    """Sorted rows to keep, at most ``count``; by label in proportion (systematic sampling of the sorted labels)."""
    n = len(cloud)
    if n <= count:
        return np.arange(n)
    order = rng.permutation(n)
    if stratify:
        order = order[np.argsort(_codes(cloud)[order], kind="stable")]
    picks = ((np.arange(count) + rng.random()) * n / count).astype(np.int64)
    return np.sort(order[picks])


def cost(a: Cloud, b: Cloud, *, classes: str = "gaussian") -> Cost:
    """Return the cost between two clouds, in factors."""
    x, y = a.features, b.features
    norms = [(part.double() ** 2).sum(dim=1, keepdim=True).float() for part in (x, y)]
    left = torch.cat([-2 * x, norms[0], torch.ones_like(norms[0])], dim=1)
    right = torch.cat([y, torch.ones_like(norms[1]), norms[1]], dim=1)
    if a.group is None or b.group is None:
        return Cost(left, right)
    table = torch.from_numpy(class_distances(a.members, b.members, classes=classes)).to(x)
    one_hot = torch.nn.functional.one_hot(b.group, len(b.members)).to(x)
    return Cost(torch.cat([left, table[a.group]], dim=1) / 2, torch.cat([right, one_hot], dim=1))


def class_distances(ours: Sequence[np.ndarray], theirs: Sequence[np.ndarray], *, classes: str) -> np.ndarray:
    """(groups, groups) squared Wasserstein distances between samples (k, d) of classes."""
    same = ours is theirs
    if classes == "gaussian":
        fits = [_gaussian(x) for x in ours]
        others = fits if same else [_gaussian(y) for y in theirs]
        return _pairs(len(fits), len(others), same, lambda i, j: _bures(fits[i], others[j]))
    if classes == "exact":
        return _pairs(len(ours), len(theirs), same, lambda i, j: _emd(ours[i], theirs[j]))
    raise SchemaError(f"class distances {classes!r}: give 'gaussian' or 'exact'")


def _pairs(n: int, q: int, same: bool, distance: Callable[[int, int], float]) -> np.ndarray:
    table = np.zeros((n, q))
    for i in range(n):
        for j in range(i + 1 if same else 0, q):
            table[i, j] = distance(i, j)
    return table + table.T if same else table


def _gaussian(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean (d,) and root (r, d) of the covariance, root.T @ root, of rank r <= min(n, d)."""
    mean = x.mean(axis=0, dtype=np.float64)
    _, values, axes = np.linalg.svd((x - mean) / np.sqrt(len(x)), full_matrices=False)
    keep = values > 1e-9 * max(values[0], 1e-300)
    return mean, values[keep, None] * axes[keep]


def _bures(a: tuple[np.ndarray, np.ndarray], b: tuple[np.ndarray, np.ndarray]) -> float:
    """W2^2 of two Gaussians: |m - m'|^2 + tr S + tr S' - 2 |R R'^T|_nuclear for roots R, R' of S, S'."""
    (mean_a, root_a), (mean_b, root_b) = a, b
    cross = float(np.linalg.svd(root_a @ root_b.T, compute_uv=False).sum()) if len(root_a) and len(root_b) else 0.0
    return max(0.0, float(((mean_a - mean_b) ** 2).sum() + (root_a**2).sum() + (root_b**2).sum() - 2 * cross))


def _emd(a: np.ndarray, b: np.ndarray) -> float:
    import ot  # type: ignore[import-untyped]  # 2.5 to 6 s: only where it is used

    x, y = (part[:: -(-len(part) // EXACT)].astype(np.float64) for part in (a, b))
    costs = ((x[:, None] - y[None]) ** 2).sum(axis=2)
    return float(ot.emd2(np.full(len(x), 1 / len(x)), np.full(len(y), 1 / len(y)), costs))
