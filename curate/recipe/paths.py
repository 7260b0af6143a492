"""Turn the relative paths of a recipe, which begin at the folder of its file, into paths that jobs can open."""

import os
from pathlib import Path

from curate import open_sets
from curate.storage import files, s3


def beside(base: Path, item: str) -> str:
    """Return a path or glob of a recipe whose file lies in ``base``.

    A recipe in the working directory keeps its paths as they are, as does an absolute path or an address in a store.
    """
    return item if s3.remote(Path(item)) or os.path.isabs(item) else str(base / item)


def beside_if_there(base: Path, item: str) -> str:
    """Return an option of a scorer as a path beside the recipe, if there is such a file, folder or glob there.

    The options of scorers do not say which of them are paths. An item that names nothing there stays as it is.
    """
    moved = beside(base, item)
    if moved == item or not item.strip():
        return item
    try:
        return moved if os.path.exists(moved) or files.listed(moved) else item
    except (OSError, ValueError):
        return item


def scorer_name(base: Path, name: str) -> str:
    """Return the name of a scorer; the path of a class in a user's own file begins at the recipe."""
    own = open_sets.OWN_CLASS.fullmatch(name)
    return name if own is None else f"{beside(base, own['file'])}:{own['cls']}"
