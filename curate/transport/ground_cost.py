"""Put samples of sources and of a target into one transport problem.

In: `Samples`. Out: `TransportProblem`, which every mixture of the sources shares.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from curate.errors import SchemaError, first_few
from curate.transport import samples as sampling
from curate.transport.cost import Cloud, Cost, cost
from curate.transport.samples import Samples

__all__ = ["Samples", "TransportProblem", "problem"]  # samples are made for a problem, so they are found here too

# Points a side. In our trials (digits) the best mixture then lies within 0.02 in L1 of that of the population.
LIMIT = 2000


@dataclass(frozen=True, eq=False, repr=False)
class TransportProblem:
    """The samples of p sources and of a target, and the costs between them.

    Every mixture is a set of weights on the same n samples of the sources; no mixture draws new samples.

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
        return f"TransportProblem({first_few(self.names)}; {len(self.source)} samples to {len(self.target_rows)})"

    @cached_property
    def across(self) -> Cost:
        """The cost between the samples of the sources and those of the target, (n, q)."""
        return cost(self.pool, self.target, classes=self.classes)

    @cached_property
    def within(self) -> Cost:
        """The cost between the samples of the sources, (n, n), which debiasing needs."""
        return cost(self.pool, self.pool, classes=self.classes)

    @cached_property
    def inside(self) -> Cost:
        """The cost between the samples of the target, (q, q), which debiasing needs."""
        return cost(self.target, self.target, classes=self.classes)

    @cached_property
    def counts(self) -> Tensor:
        """The number of samples of each source, (p,) float64."""
        return torch.bincount(self.source, minlength=len(self.names)).double()

    def masses(self, weights: Tensor) -> Tensor:
        """Return the mass (m, n) of every sample in the mixtures ``weights`` (m, p).

        The share of a source is divided evenly among its samples.
        """
        return (weights.double() / self.counts)[:, self.source]

    def means(self, values: Tensor) -> Tensor:
        """Return the mean of ``values`` (m, n) over the samples of each source, (m, p)."""
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
    """Check the samples, thin them to at most ``limit`` for each side, and prepare their costs.

    Features are centred on the target and divided by its root mean squared distance from its mean. That is one number,
    so the encoder's geometry stays. Without labels the cost is C(x, x') = |x - x'|^2. With labels it is
    C = (|x - x'|^2 + W2^2(class of x in its source, class of x' in the target)) / 2, as in OTDD (Alvarez-Melis and
    Fusi 2020) and LAVA (Just et al. 2023). A source may lack classes. Thinning is even over sources and in proportion
    over classes.

    Args:
        sources: samples by source.
        target: samples of the target.
        labels: whether the cost uses labels. None: if the target and all sources have them.
        classes: how the distance of two classes is measured: between Gaussians fitted to them ("gaussian"), or between
            their samples ("exact"). It does not depend on the mixture.
        limit: the largest number of samples of the sources together, and of the target.
        seed: seed of the random choice of samples.

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
    # Centre and scale come from all samples of the target, not only from those kept.
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
