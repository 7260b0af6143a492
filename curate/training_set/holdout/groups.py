"""Choose the groups of rows that are held out, by a hash of the group.

In: a share, and what makes a group: the stored links of the scorer `duplicates`, or equal values of a column. Out: the
hashes that are held out.
The hashes of groups are counted in buckets, so that memory does not grow with the rows. Links are the exception: a
link takes about 125 bytes while groups are formed.
"""

from dataclasses import dataclass
from math import ceil, floor, log10
from pathlib import Path

import numpy as np
import polars as pl

from curate.errors import SchemaError
from curate.storage.files import replacing
from curate.streaming import linkage, near_duplicates
from curate.tables import batches
from curate.training_set.ordering import pool_draw

BUCKETS = 1 << 16  # of the hashes of groups: a share is met to within about 1 / 65,536 of the tokens


@dataclass(frozen=True)
class Holdout:
    """The share of the tokens to hold out. Rows with equal values of the column ``by`` stay together.

    Without ``by``, rows stay together that the links of the scorer `duplicates` join.
    """

    share: float
    by: str = ""

    def check(self) -> None:
        """Check the share.

        Raises:
            SchemaError: if it is not between 0 and 1.
        """
        if not 0 < self.share < 1:
            raise SchemaError(f"--holdout {self.share:g} must be above 0 and below 1, such as 0.01")


def holdout(share: float | None, by: str = "") -> Holdout | None:
    """Return what the options ``--holdout`` and ``--holdout-by`` say; None if nothing is held out.

    Raises:
        SchemaError: if the share is not between 0 and 1, or there is only a column.
    """
    if share is None:
        if by:
            raise SchemaError(f"--holdout-by {by} needs --holdout, the share of the tokens to set aside")
        return None
    result = Holdout(share, by)
    result.check()
    return result


@dataclass(frozen=True)
class HoldoutLinks:
    """A file with the groups of linked rows, and the seed of its hashes of ids."""

    path: Path
    seed: int


@dataclass(frozen=True)
class GroupRule:
    """How the group of a row is found: by the column ``by``, or by the linked rows of each score folder."""

    by: str
    seed: int
    links: tuple[tuple[str, HoldoutLinks], ...] = ()

    def buckets(self, scores: str, ids: pl.Series, values: pl.Series | None) -> np.ndarray:
        """Return the bucket (n,) of the group of each row. ``values`` are those of the column ``by``."""
        linked = dict(self.links).get(scores)
        groups = batches.keys(ids, 0 if linked is None else linked.seed)
        if values is not None:
            # Rows without a value are groups of their own.
            text = values.cast(pl.String)
            named = text.is_not_null().to_numpy()
            groups[named] = batches.keys(text.filter(text.is_not_null()), 0)
        elif linked is not None:
            rows, group = np.load(linked.path, mmap_mode="r")
            places = np.minimum(np.searchsorted(rows, groups), len(rows) - 1)
            groups = np.where(rows[places] == groups, group[places], groups)
        # Hashed again: the smallest hash of a group is its name, and so most names are small.
        hashes = pool_draw.order_keys(groups ^ np.uint64(batches.keys(["holdout"], self.seed)[0]), 0)
        return (hashes >> np.uint64(48)).astype(np.int64)


def save_links(scores: Path, path: Path) -> HoldoutLinks | None:
    """Write the groups of the linked rows of a score folder to a file, an array (2, m) of rows and groups.

    A row is hash(id, seed), and a group the smallest hash among its rows. Returns None if no rows are linked.
    """
    if not near_duplicates.has_links(scores):
        return None
    settings, _ = near_duplicates.settings_of_links(scores)
    pairs = [np.stack([table.first, table.second]) for table in near_duplicates.stored_links(scores)]
    rows, ends = np.unique(np.concatenate([np.zeros((2, 0), np.uint64), *pairs], axis=1), return_inverse=True)
    if not len(rows):
        return None
    labels = linkage.components(ends.reshape(2, -1).T, len(rows))
    # Rows are sorted, so the first row of a group has its smallest hash.
    _, smallest = np.unique(labels, return_index=True)
    with replacing(path) as temporary, temporary.open("wb") as handle:
        np.save(handle, np.stack([rows, rows[smallest[labels]]]), allow_pickle=False)
    return HoldoutLinks(path, settings.seed)


def chosen(sizes: np.ndarray, share: float) -> np.ndarray:
    """Return a mask (``BUCKETS``,) of the buckets that are held out.

    ``sizes`` (``BUCKETS``,) are the tokens in each. Buckets are taken in order, those passed over that would take more
    than the share.

    Raises:
        SchemaError: if every bucket takes more than the share.
    """
    total, most = int(sizes.sum()), share * int(sizes.sum())
    mask, tokens = np.zeros(BUCKETS, dtype=bool), 0
    for bucket in np.flatnonzero(sizes).tolist():
        size = int(sizes[bucket])
        if tokens + size <= most:
            mask[bucket] = True
            tokens += size
    if not tokens:
        smallest = int(sizes[sizes > 0].min()) if total else 0
        if smallest == total:
            raise SchemaError(
                f"--holdout {share:g}: all rows, of {total} tokens, are one group, which is not split. Leave --holdout "
                "out, or name a column with smaller groups by --holdout-by"
            )
        raise SchemaError(
            f"--holdout {share:g} of {total} tokens are {most:.4g}, and the smallest group of rows has {smallest}. Use "
            f"--holdout {_rounded_up(smallest / total)} or more, or a column with smaller groups"
        )
    return mask


def _rounded_up(share: float) -> str:
    """Return a share between 0 and 1 with two digits, rounded up, so that the number in a message is enough."""
    digits = 1 - floor(log10(share))
    return f"{ceil(share * 10**digits) / 10**digits:g}"
