"""Give each row of a run table a key: rows with equal keys are of one training."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import polars as pl

from curate.errors import SchemaError, amount
from curate.runs.trainings.progress import FINISHED
from curate.runs.trainings.training_rows import numbers

Checkpoints = Literal["auto", "yes", "no"]  # the values of --checkpoints
# The number of rows of equal mixture and size from which evenly spaced tokens show checkpoints. Grids of experiments
# often have three lengths.
FEWEST_CHECKPOINTS = 4
EVEN = 0.02  # two gaps between checkpoints are equal if they differ by less than this share
# Share of the gaps that must be equal, and share of the trainings with such gaps: checkpoints may be missing, or more
# frequent early in training.
MOSTLY = 0.6
# Number columns that are constant in a training and that differ between runs of one mixture and size.
SETTINGS = ("params", "seed", "keep", "batch_tokens", "planned_tokens")


def keys_by_name(frame: pl.DataFrame, alone: Sequence[str], start: np.ndarray) -> tuple[np.ndarray, list[str], bool]:
    """Return the name and the key of each row's training, and whether the user told which rows belong together.

    Rows with equal names and keys are one training. ``alone`` holds the keys of rows that belong to no other row.
    """
    runs = frame["run"].to_list()
    if "training" in frame.columns:
        training = frame["training"].cast(pl.String).to_list()
        none = [name is None or first for name, first in zip(training, start.tolist(), strict=True)]
        names = [run if name is None else name for name, run in zip(training, runs, strict=True)]
        keys = ["" for _ in runs]
    else:
        none = start.tolist()
        names = [run.partition("@")[0] for run in runs]
        # Runs of different seeds or corpora may have the same name.
        columns: list[str] = [column for column in ("seed", "corpus") if column in frame.columns]
        if names == runs:
            # Without @, a name that runs of different mixtures or sizes have is no sign of one training.
            columns = [*columns, *(name for name in _settings(frame) if name not in columns)]
        keys = _joined(frame, columns)
    keys = [row if is_alone else key for row, key, is_alone in zip(alone, keys, none, strict=True)]
    return np.array(names, dtype=object), keys, "training" in frame.columns or names != runs


def _settings(frame: pl.DataFrame) -> list[str]:
    """Return the columns that are equal in all rows of one training: mixture, size, unique tokens, seed and texts."""
    texts = (pl.String, pl.Categorical, pl.Enum, pl.Boolean)
    return [
        name
        for name, dtype in frame.schema.items()
        if name in SETTINGS
        or name.startswith(("weight.", "unique."))
        or (isinstance(dtype, texts) and name not in ("run", "training"))
    ]


def _joined(frame: pl.DataFrame, columns: Sequence[str]) -> list[str]:
    """Return one text for each row, equal for rows that are equal in these columns."""
    if not columns:
        return [""] * len(frame)
    cells = [pl.col(name).cast(pl.String).fill_null("") for name in columns]
    return frame.select(pl.concat_str(cells, separator="\0")).to_series().to_list()


def keys_by_settings(
    frame: pl.DataFrame, alone: Sequence[str], start: np.ndarray, origin: str, checkpoints: Checkpoints
) -> tuple[list[str], tuple[str, ...]]:
    """Return a key of each row's training, and a note if rows of equal settings are or may be checkpoints."""
    groups = _of_settings(frame, start)
    alike = _alike(frame, groups)
    joined, signs = (alike, ()) if checkpoints == "yes" else _trainings_among(frame, alike)
    keys = list(alone)
    for rows in joined:
        for row in rows:
            keys[row] = f"training {alone[rows[0]]}"
    count = sum(len(rows) for rows in joined)
    if joined and checkpoints == "auto":
        return keys, (
            f"{count} rows are taken for checkpoints of {amount(len(joined), 'training')}, because they have equal "
            f"mixture, size, unique tokens and seed, and {' or '.join(signs)}. If every row is a finished run, use "
            "--checkpoints no",
        )
    if joined:
        return keys, (
            f"{count} rows are checkpoints of {len(joined)} trainings (--checkpoints yes), because they have equal "
            "mixture, size, unique tokens and seed",
        )
    if checkpoints == "yes":
        raise SchemaError(
            f"{origin}: --checkpoints yes, but no two rows have equal mixture, size, unique tokens and seed and "
            "different tokens, so nothing says which rows are of one training. Add a column training, or name the runs "
            "TRAINING@STEP"
        )
    return keys, _undecided(frame, groups)


def _undecided(frame: pl.DataFrame, groups: Sequence[list[int]]) -> tuple[str, ...]:
    """Return a note if rows may be checkpoints, and nothing shows which are of one training."""
    several = [rows for rows in groups if len(rows) > 1]
    count = sum(map(len, several))
    if count and "step" in frame.columns:
        return (
            f"{count} of {len(frame)} rows have the same mixture, size, unique tokens and seed as another row, and "
            "there is a column step. Are they checkpoints? Nothing says which of them are of one training, so every "
            "row counts as a finished run. Add a column training, or use --checkpoints yes",
        )
    # The trainings of one mixture and size that differ in length have checkpoints at the same tokens. So do repeats of
    # a run. Runs that differ in any other number, such as a learning rate, are told apart by it.
    names = [n for n, dtype in frame.schema.items() if dtype.is_numeric() and not n.startswith(("loss.", "metric."))]
    cells = np.nan_to_num(np.column_stack([numbers(frame, name) for name in names]))
    equal = sum(len(rows) - len(np.unique(cells[rows], axis=0)) for rows in several)
    if not equal:
        return ()
    return (
        f"{equal} of {len(frame)} rows have the same mixture, size, unique tokens, seed and tokens as another row. If "
        "they are repeats of a run, add a column seed. If they are checkpoints of trainings of different lengths, "
        "add a column training: without it every row counts as a finished run",
    )


def _of_settings(frame: pl.DataFrame, start: np.ndarray) -> list[list[int]]:
    """Return the groups of rows of equal settings, as positions of rows. Start rows are in no group."""
    groups: dict[str, list[int]] = {}
    for row, settings in enumerate(_joined(frame, _settings(frame))):
        if not start[row]:
            groups.setdefault(settings, []).append(row)
    return list(groups.values())


def _alike(frame: pl.DataFrame, groups: Sequence[list[int]]) -> list[list[int]]:
    """Return the groups of two or more rows with different tokens, which may be checkpoints of one training."""
    tokens = frame["tokens"].to_numpy()
    # Two runs of equal settings and equal length are two trainings, such as those of a sweep.
    return [rows for rows in groups if len(rows) > 1 and (np.diff(np.sort(tokens[rows])) > 0).all()]


def _trainings_among(frame: pl.DataFrame, alike: Sequence[list[int]]) -> tuple[list[list[int]], tuple[str, ...]]:
    """Return the groups of rows that are checkpoints of one training, and what shows it."""
    tokens = frame["tokens"].to_numpy()
    planned = numbers(frame, "planned_tokens")
    many = [rows for rows in alike if len(rows) >= FEWEST_CHECKPOINTS]
    even = [rows for rows in many if _evenly_spaced(np.sort(tokens[rows]))]
    # Lengths of a few runs may be even by chance. Where trainings were measured every so many steps, most of them were.
    even = even if len(even) >= MOSTLY * len(many) else []
    # A table without losses holds plans of runs, which are of finished runs.
    if not any(name.startswith(("loss.", "metric.")) for name in frame.columns):
        even = []
    # At most one row of a training is its end.
    unfinished = [rows for rows in alike if (tokens[rows] < FINISHED * planned[rows[0]]).sum() >= len(rows) - 1]
    firsts = {rows[0] for rows in (*even, *unfinished)}
    signs = {"evenly spaced tokens": even, "fewer tokens than planned_tokens": unfinished}
    return [rows for rows in alike if rows[0] in firsts], tuple(sign for sign, rows in signs.items() if rows)


def _evenly_spaced(tokens: np.ndarray) -> bool:
    """Return whether ascending token counts are mostly evenly spaced, as those of checkpoints are."""
    gaps = np.diff(tokens)
    usual = np.median(gaps)
    return bool((np.abs(gaps - usual) < EVEN * usual).mean() >= MOSTLY)
