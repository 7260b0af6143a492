"""Compute the ground cost between two clouds of samples, as a product of two thin matrices.

In: `Cloud` of both sides. Out: `Cost`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from curate.transport.class_distances import class_distances

BLOCK = 1 << 20  # cells of a cost matrix that are filled at a time: 4 MB of float32 stay in the cache


@dataclass(frozen=True, eq=False, repr=False)
class Cost:
    """The cost between two clouds, as the product of two thin matrices.

    C = left_factor @ right_factor.T (n, q) is never stored whole. ``left_factor`` is (n, r) and ``right_factor``
    (q, r), both float32. A table T of distances between classes adds one column to both factors for each class of the
    right side: the row T[x's class, :] on the left, and a one-hot vector on the right.
    """

    left_factor: Tensor
    right_factor: Tensor

    @cached_property
    def mean(self) -> float:
        """The mean of all costs, in which the strength of the regularisation is measured."""
        return float(self.left_factor.double().mean(dim=0) @ self.right_factor.double().mean(dim=0))

    @property
    def shape(self) -> tuple[int, int]:
        """The numbers of points n and q."""
        return len(self.left_factor), len(self.right_factor)

    @property
    def blocks(self) -> Iterator[slice]:
        """Ranges of rows of C that have about ``BLOCK`` cells each."""
        n, q = self.shape
        step = max(1, BLOCK // q)
        return (slice(i, min(i + step, n)) for i in range(0, n, step))

    def dense(self) -> Tensor:
        """Return the whole cost matrix C, (n, q) float32, with all values at least 0.

        Only exact solvers and tests need it: it takes 4 n q bytes.
        """
        return (self.left_factor @ self.right_factor.T).clamp_min(0)


@dataclass(frozen=True, eq=False, repr=False)
class Cloud:
    """The samples of one side, the sources or the target, after thinning.

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


def cost(a: Cloud, b: Cloud, *, classes: str = "gaussian") -> Cost:
    """Return the cost between two clouds as two factors. The formula is in `curate.transport.ground_cost.problem`."""
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
