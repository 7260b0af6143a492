"""Put samples of sources and of a target into one transport problem, with the ground cost between any two of them.

In: `Samples`. Out: `TransportProblem`, which every mixture of the sources shares.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from curate.errors import SchemaError
from curate.transport import samples as sampling
from curate.transport.class_distances import class_distances
from curate.transport.samples import Samples

__all__ = ["Cloud", "Cost", "Samples", "TransportProblem", "cost", "problem"]

# Points a side. In our trials (digits) the best mixture then lies within 0.02 in L1 of that of the population.
LIMIT = 2000
BLOCK = 1 << 20  # cells of a cost matrix that are filled at a time: 4 MB of float32 stay in the cache


@dataclass(frozen=True, eq=False, repr=False)
class Cost:
    """The cost between two clouds as a product, C = left_factor @ right_factor.T, which is never stored whole.

    ``left_factor`` is (n, r) and ``right_factor`` (q, r), both float32.
    A table T of class distances adds one column a class: T[x's class, :] on the left, and one-hot on the right.
    """

    left_factor: Tensor
    right_factor: Tensor

    @cached_property
    def mean(self) -> float:
        """The mean cost, which is the natural unit of the regularisation."""
        return float(self.left_factor.double().mean(dim=0) @ self.right_factor.double().mean(dim=0))

    @property
    def shape(self) -> tuple[int, int]:
        """The numbers of points n and q."""
        return len(self.left_factor), len(self.right_factor)

    @property
    def blocks(self) -> Iterator[slice]:
        """Ranges of rows that have about ``BLOCK`` cells each."""
        n, q = self.shape
        step = max(1, BLOCK // q)
        return (slice(i, min(i + step, n)) for i in range(0, n, step))

    def dense(self) -> Tensor:
        """Return C (n, q), float32, at least 0, for exact solvers and tests."""
        return (self.left_factor @ self.right_factor.T).clamp_min(0)


@dataclass(frozen=True, eq=False, repr=False)
class Cloud:
    """The kept samples of one side.

    Attributes:
        features: (n, d) float32, scaled.
        group: (n,) the class of each sample, numbered over all sources; None without labels.
        members: the features (k, d) of every group, of all samples and not only of those kept.
    """

    features: Tensor
    group: Tensor | None
    members: tuple[np.ndarray, ...]

    def to(self, device: str) -> "Cloud":
        """Return the same cloud on another device."""
        group = None if self.group is None else self.group.to(device)
        return Cloud(self.features.to(device), group, self.members)


@dataclass(frozen=True, eq=False, repr=False)
class TransportProblem:
    """p sources and a target, on one pool of samples that every mixture shares; nothing is drawn again.

    Attributes:
        names: of the p sources.
        source: (n,) which source a sample of the pool belongs to.
        rows: (n,) its row there.
        target_rows: (q,) rows of the target's samples.
        pool, target: the kept samples.
        scale: the unit of costs, which is the mean squared distance of target samples to their mean.
        classes: how classes are compared; see `problem`.
    """

    names: tuple[str, ...]
    source: Tensor
    rows: Tensor
    target_rows: Tensor
    pool: Cloud
    target: Cloud
    scale: float
    classes: str

    def __repr__(self) -> str:
        """Return the sizes in one line."""
        return f"TransportProblem({', '.join(self.names)}; {len(self.source)} samples to {len(self.target_rows)})"

    @cached_property
    def across(self) -> Cost:
        """The cost of the pool (n) to the target (q)."""
        return cost(self.pool, self.target, classes=self.classes)

    @cached_property
    def within(self) -> Cost:
        """The cost of the pool (n) to itself, which debiasing needs."""
        return cost(self.pool, self.pool, classes=self.classes)

    @cached_property
    def inside(self) -> Cost:
        """The cost of the target (q) to itself, which debiasing needs."""
        return cost(self.target, self.target, classes=self.classes)

    @cached_property
    def counts(self) -> Tensor:
        """The number of samples of each source, (p,) float64."""
        return torch.bincount(self.source, minlength=len(self.names)).double()

    def masses(self, weights: Tensor) -> Tensor:
        """Return the mass (m, n) of every sample in mixtures (m, p): its source's share over the source's samples."""
        return (weights.double() / self.counts)[:, self.source]

    def means(self, values: Tensor) -> Tensor:
        """Return the mean (m, p) over each source of ``values`` (m, n)."""
        sums = values.new_zeros(len(values), len(self.names)).index_add_(1, self.source, values)
        return sums / self.counts

    def to(self, device: str) -> "TransportProblem":
        """Return the same problem on another device, where its costs, kernels and solves then live."""
        return TransportProblem(
            self.names,
            self.source.to(device),
            self.rows.to(device),
            self.target_rows.to(device),
            self.pool.to(device),
            self.target.to(device),
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
    """Check the samples, thin them to ``limit`` a side, and prepare their costs.

    Features are centred on the target and divided by its root mean squared distance from its mean. That is one number,
    so the encoder's geometry stays. Without labels the cost is C(x, x') = |x - x'|^2. With labels it is
    C = (|x - x'|^2 + W2^2(class of x in its source, class of x' in the target)) / 2, as in OTDD (Alvarez-Melis and
    Fusi 2020) and LAVA (Just et al. 2023). A source may lack classes. Thinning is even over sources and in proportion
    over classes.

    Args:
        sources: samples by source.
        target: samples of the target.
        labels: whether the cost uses labels; None uses them where all sides have them.
        classes: distances of classes are of fitted Gaussians ("gaussian") or between the samples ("exact"). They do not
            depend on the mixture.
        limit: most samples a side.
        seed: of the thinning.

    Raises:
        SchemaError: for samples that cannot be compared, with whose they are and why.
    """
    if not sources:
        raise SchemaError("no sources: give samples of at least one")
    named = {**{f"source {name!r}": cloud for name, cloud in sources.items()}, "the target": target}
    for name, cloud in named.items():
        sampling.check(name, cloud, target)
    labelled = sampling.use_labels(named, labels)
    rng = np.random.default_rng(seed)
    clouds = list(sources.values())
    counts = sampling.allot([len(cloud) for cloud in clouds], limit)
    kept = [sampling.thin(cloud, count, labelled, rng) for cloud, count in zip(clouds, counts, strict=True)]
    target_kept = sampling.thin(target, limit, labelled, rng)
    y = np.asarray(target.features, dtype=np.float64)
    centre, scale = y.mean(axis=0), float(((y - y.mean(axis=0)) ** 2).sum(axis=1).mean())
    return TransportProblem(
        names=tuple(sources),
        source=torch.from_numpy(np.repeat(np.arange(len(kept)), [len(rows) for rows in kept])),
        rows=torch.from_numpy(np.concatenate(kept)),
        target_rows=torch.from_numpy(target_kept),
        pool=_cloud(clouds, kept, labelled, (centre, scale)),
        target=_cloud([target], [target_kept], labelled, (centre, scale)),
        scale=scale,
        classes=classes,
    )


def _cloud(
    clouds: Sequence[Samples], kept: Sequence[np.ndarray], labelled: bool, frame: tuple[np.ndarray, float]
) -> Cloud:
    """Scale and concatenate. A group is a class of one source: equal labels of two sources are two groups."""
    centre, scale = frame
    features, groups, members = [], [], list[np.ndarray]()
    for cloud, rows in zip(clouds, kept, strict=True):
        x = ((np.asarray(cloud.features, dtype=np.float64) - centre) / np.sqrt(scale)).astype(np.float32)
        features.append(x[rows])
        if labelled:
            codes = sampling.class_codes(cloud)
            groups.append(len(members) + codes[rows])
            members += [x[codes == code] for code in range(int(codes.max()) + 1)]
    group = torch.from_numpy(np.concatenate(groups)) if labelled else None
    return Cloud(torch.from_numpy(np.concatenate(features)), group, tuple(members))


def cost(a: Cloud, b: Cloud, *, classes: str = "gaussian") -> Cost:
    """Return the cost between two clouds, in factors; see `problem` for its formula."""
    x, y = a.features, b.features
    # |x - y|^2 = -2 x.y + |x|^2 + |y|^2, a product of three blocks of columns.
    norms = [(part.double() ** 2).sum(dim=1, keepdim=True).float() for part in (x, y)]
    left_factor = torch.cat([-2 * x, norms[0], torch.ones_like(norms[0])], dim=1)
    right_factor = torch.cat([y, torch.ones_like(norms[1]), norms[1]], dim=1)
    if a.group is None or b.group is None:
        return Cost(left_factor, right_factor)
    table = torch.from_numpy(class_distances(a.members, b.members, classes=classes)).to(x)
    one_hot = torch.nn.functional.one_hot(b.group, len(b.members)).to(x)
    return Cost(torch.cat([left_factor, table[a.group]], dim=1) / 2, torch.cat([right_factor, one_hot], dim=1))
