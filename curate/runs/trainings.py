"""Find which rows of a run table are checkpoints of one training, and how far each training had come.

A row from the middle of a training is not a finished run of that length: its learning rate has still to fall. And the
rows of one training err together, so they are not independent runs.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
import polars as pl

from curate.errors import SchemaError
from curate.runs import annealing_areas, number_columns
from curate.runs.recipes import SUM_TOLERANCE

Checkpoints = Literal["auto", "yes", "no"]  # the values of --checkpoints
Schedules = Literal["planned_tokens", "lr", "assumed"]
# The number of rows of equal mixture and size from which evenly spaced tokens show checkpoints. Grids of experiments
# often have three lengths.
FEWEST_CHECKPOINTS = 4
EVEN = 0.02  # two gaps between checkpoints are equal if they differ by less than this share
# Share of the gaps that must be equal, and share of the trainings with such gaps: checkpoints may be missing, or more
# frequent early in training.
MOSTLY = 0.6
# A planned length counts whole steps and the tokens of a run do too, so the two may differ by a step. 1 % is more than
# one step of any run of 100 steps.
ROUNDED = 0.01
FINISHED = 1 - ROUNDED  # the progress from which a run is finished
# A learning rate that has fallen below this share of its peak has been annealed. Cosine and linear schedules end at a
# tenth of the peak or at 0 (Hoffmann et al. 2022, arXiv 2203.15556, section 3.1; Hu et al. 2024, arXiv 2404.06395).
ANNEALED = 0.2
ROUNDED_PARAMS = 1e-3  # relative: params of one training that differ by less are rounded values of one number
# Number columns that are constant in a training and that differ between runs of one mixture and size.
SETTINGS = ("params", "seed", "keep", "batch_tokens", "planned_tokens")


@dataclass(frozen=True)
class Trainings:
    """The trainings of the n rows of a run table.

    ``codes`` (n,) are integers; checkpoints of one training share a code. ``names`` (n,) are the names of the
    trainings. ``progress`` (n,) is the part of its planned training that a row has done, in (0, 1]. ``schedules`` says
    from where progress comes: ``planned_tokens`` and ``lr`` are columns; ``assumed`` takes the last row of each
    training for its end. ``areas`` (n, 2) are the annealing areas S1 and S2, if a column ``lr`` shows the schedule.
    ``notes`` say what was taken for a checkpoint in the table as it was read, and why.
    """

    codes: np.ndarray
    names: np.ndarray
    progress: np.ndarray
    schedules: Schedules
    areas: np.ndarray | None = None
    notes: tuple[str, ...] = ()

    def take(self, rows: np.ndarray) -> "Trainings":
        """Return the trainings of the rows at these positions, or where a mask is true."""
        areas = None if self.areas is None else self.areas[rows]
        return replace(self, codes=self.codes[rows], names=self.names[rows], progress=self.progress[rows], areas=areas)

    @property
    def count(self) -> int:
        """The number of trainings."""
        return len(np.unique(self.codes))

    @property
    def has_checkpoints(self) -> bool:
        """Whether any training has more than one row, or any row is of a training that was not finished."""
        return self.count < len(self.codes) or bool((self.progress < FINISHED).any())


def trainings(frame: pl.DataFrame, origin: str, checkpoints: Checkpoints = "auto") -> Trainings:
    """Return the trainings of the rows of a checked run table. ``origin`` names the table in errors.

    Rows with the same value in the column ``training`` are one training. Without that column it is the part of the
    run's name before ``@``. Without that, every row is a finished training of its own. But four or more rows of equal
    mixture, size, unique tokens, seed and text columns are one training if their tokens are mostly evenly spaced, or if
    the column planned_tokens says that they were not finished.

    With ``checkpoints`` = ``yes``, rows of equal mixture, size and settings are one training however their tokens are
    spaced. With ``no``, every row is a finished training of its own, whatever names and columns say.

    Raises:
        SchemaError: rows of one training have different mixtures or sizes, or the same tokens; a row has more tokens
            than were planned; or ``checkpoints`` is ``yes`` and nothing says which rows belong together.
    """
    if checkpoints not in get_args(Checkpoints):
        raise SchemaError(f"--checkpoints {checkpoints!r} is not known: use {', '.join(get_args(Checkpoints))}")
    runs = np.array(frame["run"].to_list(), dtype=object)
    alone = [f"row {i}" for i in range(len(frame))]  # keys of rows that are trainings of their own
    if checkpoints == "no":
        return Trainings(np.arange(len(frame)), runs, np.ones(len(frame)), "assumed")
    # A start row holds the losses before training, and belongs to no training.
    start = (frame["tokens"].fill_null(np.nan) == 0).to_numpy()
    names, keys, told = _named(frame, alone, start)
    codes = _codes(names, keys)
    notes: tuple[str, ...] = ()
    if told:
        _refuse_disagreement(frame, codes, names, start, origin)
    elif len(np.unique(codes)) == len(frame):
        keys, notes = _of_equal_settings(frame, alone, start, origin, checkpoints)
        # A training without a name is called by one of its runs.
        first: dict[str, str] = {}
        for key, run in zip(keys, runs.tolist(), strict=True):
            first[key] = min(first.get(key, run), run)
        names = np.array([first[key] for key in keys], dtype=object)
        codes = _codes(names, keys)
    progress, schedules, more = _progress(frame, codes, names, start, origin)
    areas = annealing_areas.of_rows(frame, codes)
    return Trainings(codes, names, progress, schedules, areas, (*notes, *more))


def last_rows(codes: np.ndarray, tokens: np.ndarray, measured: np.ndarray) -> np.ndarray:
    """Return (n,) bool: the row with the most tokens of each training, among the rows where ``measured`` is true.

    Of rows with equal tokens it is the later one in the table.
    """
    last = np.zeros(len(codes), dtype=bool)
    rows = np.flatnonzero(measured)
    order = rows[np.lexsort((rows, tokens[rows], codes[rows]))]
    ends = np.append(codes[order][1:] != codes[order][:-1], True) if len(order) else np.zeros(0, dtype=bool)
    last[order[ends]] = True
    return last


def _codes(names: np.ndarray, keys: Sequence[str]) -> np.ndarray:
    """Return (n,) codes of trainings in the order of their names, so that the order of the rows does not matter."""
    pairs = [f"{name}\0{key}" for name, key in zip(names.tolist(), keys, strict=True)]
    return np.asarray(np.unique(np.array(pairs, dtype=object), return_inverse=True)[1])


def _named(frame: pl.DataFrame, alone: Sequence[str], start: np.ndarray) -> tuple[np.ndarray, list[str], bool]:
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


def _of_equal_settings(
    frame: pl.DataFrame, alone: Sequence[str], start: np.ndarray, origin: str, checkpoints: Checkpoints
) -> tuple[list[str], tuple[str, ...]]:
    """Return a key of each row's training, and a note if rows of equal settings are or may be checkpoints."""
    keys = list(alone)
    tokens = frame["tokens"].to_numpy()
    planned = _numbers(frame, "planned_tokens")
    groups: dict[str, list[int]] = {}
    for row, settings in enumerate(_joined(frame, _settings(frame))):
        if not start[row]:
            groups.setdefault(settings, []).append(row)
    # Two runs of equal settings and equal length are two trainings, such as those of a sweep.
    alike = [rows for rows in groups.values() if len(rows) > 1 and (np.diff(np.sort(tokens[rows])) > 0).all()]
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
    joined = alike if checkpoints == "yes" else [rows for rows in alike if rows[0] in firsts]
    for rows in joined:
        for row in rows:
            keys[row] = f"training {alone[rows[0]]}"
    count = sum(len(rows) for rows in joined)
    if joined and checkpoints == "auto":
        return keys, (
            f"{count} rows are taken for checkpoints of {len(joined)} trainings, because they have equal mixture, "
            "size, unique tokens and seed, and evenly spaced tokens or fewer tokens than planned_tokens. If every row "
            "is a finished run, use --checkpoints no. To be sure, name the trainings in a column training",
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
    return keys, _undecided(frame, list(groups.values()))


def _undecided(frame: pl.DataFrame, groups: Sequence[Sequence[int]]) -> tuple[str, ...]:
    """Return a note if rows of equal settings may be checkpoints, and nothing says which are of one training."""
    several = [list(rows) for rows in groups if len(rows) > 1]
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
    cells = np.nan_to_num(np.column_stack([_numbers(frame, name) for name in names]))
    equal = sum(len(rows) - len(np.unique(cells[rows], axis=0)) for rows in several)
    if not equal:
        return ()
    return (
        f"{equal} of {len(frame)} rows have the same mixture, size, unique tokens, seed and tokens as another row. If "
        "they are repeats of a run, a column seed says so. If they are checkpoints of trainings of different lengths, "
        "add a column training: without it every row counts as a finished run",
    )


def _evenly_spaced(tokens: np.ndarray) -> bool:
    """Return whether ascending token counts are mostly evenly spaced, as those of checkpoints are."""
    gaps = np.diff(tokens)
    usual = np.median(gaps)
    return bool((np.abs(gaps - usual) < EVEN * usual).mean() >= MOSTLY)


def _numbers(frame: pl.DataFrame, name: str) -> np.ndarray:
    """Return a column as (n,) numbers, NaN where it is absent, empty or a word."""
    if name not in frame.columns:
        return np.full(len(frame), np.nan)
    return frame[name].cast(pl.Float64, strict=False).fill_null(np.nan).to_numpy()


def _refuse_disagreement(
    frame: pl.DataFrame, codes: np.ndarray, names: np.ndarray, start: np.ndarray, origin: str
) -> None:
    """Refuse a training whose rows have different mixtures or sizes, or two rows of the same tokens and eval."""
    sign = "column training" if "training" in frame.columns else "part of the name before @"
    for name in ["params", *(c for c in frame.columns if c.startswith("weight."))]:
        values = _numbers(frame, name)
        # An empty share is 0. An empty size is refused where it is used.
        rows = ~start & np.isfinite(values) if name == "params" else ~start
        low, high = _ends(np.nan_to_num(values), codes, rows)
        wrong = high - low > (ROUNDED_PARAMS * high if name == "params" else SUM_TOLERANCE)
        if wrong.any():
            code = int(wrong.argmax())
            raise SchemaError(
                f"{origin}: the rows of training {names[codes == code][0]!r} have {name} from {low[code]:.6g} to "
                f"{high[code]:.6g}: a training has one mixture and one size. {int(wrong.sum())} such trainings. Give "
                f"each training a name of its own ({sign}), or use --checkpoints no"
            )
    losses = [c for c in frame.columns if c.startswith("loss.")]
    present = np.column_stack([~np.isnan(_numbers(frame, c)) for c in losses]) if losses else np.ones((len(frame), 0))
    tokens = _numbers(frame, "tokens")
    for column in present.astype(bool).T:
        rows = np.flatnonzero(column & ~start)
        pairs, counts = np.unique(np.column_stack([codes[rows], tokens[rows]]), axis=0, return_counts=True)
        if (counts > 1).any():
            code, length = pairs[int((counts > 1).argmax())]
            twice = rows[(codes[rows] == code) & (tokens[rows] == length)]
            raise SchemaError(
                f"{origin}: training {names[twice[0]]!r} has {len(twice)} rows at {length:g} tokens, the runs "
                f"{frame['run'][int(twice[0])]!r} and {frame['run'][int(twice[1])]!r}: are these two trainings of one "
                f"name? Give each a name of its own ({sign}) or a column seed, or drop the copies"
            )


def _ends(values: np.ndarray, codes: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the smallest and the largest of (n,) values in each training, by its code, among a mask of rows."""
    count = int(codes.max()) + 1
    low, high = np.full(count, np.inf), np.full(count, -np.inf)
    np.minimum.at(low, codes[rows], values[rows])
    np.maximum.at(high, codes[rows], values[rows])
    # A training without such rows has no ends.
    none = ~np.isfinite(low) & ~np.isfinite(high)
    return np.where(none, 0.0, low), np.where(none, 0.0, high)


def _progress(
    frame: pl.DataFrame, codes: np.ndarray, names: np.ndarray, start: np.ndarray, origin: str
) -> tuple[np.ndarray, Schedules, tuple[str, ...]]:
    """Return the (n,) progress of the rows, from where it comes, and notes."""
    tokens = np.where(start, 1.0, np.nan_to_num(_numbers(frame, "tokens"), nan=1.0))
    planned = _planned(frame, start, origin)
    low, high = _ends(planned, codes, np.isfinite(planned))
    if (disagree := high - low > ROUNDED * high).any():
        code = int(disagree.argmax())
        raise SchemaError(
            f"{origin}: the rows of training {names[codes == code][0]!r} have planned_tokens from {low[code]:g} to "
            f"{high[code]:g}: one training has one planned length. {int(disagree.sum())} such trainings. Correct "
            "planned_tokens, or give each training a name of its own"
        )
    over = ~start & (tokens > (1 + ROUNDED) * planned)
    # One step more than planned is no error, however large a step is.
    over &= ~(tokens <= planned + np.nan_to_num(_numbers(frame, "batch_tokens")))
    if over.any():
        row = int(over.argmax())
        raise SchemaError(
            f"{origin}: run {frame['run'][row]!r} has tokens = {tokens[row]:g} and planned_tokens = {planned[row]:g}: "
            f"no run has more tokens than were planned; {int(over.sum())} such rows. Correct planned_tokens, or leave "
            "it empty"
        )
    _, longest = _ends(tokens, codes, ~start)
    plan = high[codes]
    planned_rows = plan > 0
    # Where nothing was planned, the last row of a training is taken for its end.
    progress = np.where(
        start, 1.0, np.minimum(tokens / np.where(planned_rows, plan, np.maximum(longest[codes], 1.0)), 1.0)
    )
    several = (np.bincount(codes) > 1)[codes]
    if planned_rows[several].all() and planned_rows.any():
        return progress, "planned_tokens", ()
    rates = _numbers(frame, "lr")
    if not np.isfinite(rates[several]).any():
        return progress, "assumed", ()
    return progress, *_from_rates(rates, tokens, codes, several & ~planned_rows)


def _planned(frame: pl.DataFrame, start: np.ndarray, origin: str) -> np.ndarray:
    """Return the (n,) planned tokens, NaN where the cell is empty.

    A wrong cell is refused: without its plan, an unfinished run would count as finished.
    """
    planned = _numbers(frame, "planned_tokens")
    if "planned_tokens" not in frame.columns:
        return planned
    number_columns.refuse_words(frame, "planned_tokens", origin)
    wrong = ~start & ~np.isnan(planned) & ~(np.isfinite(planned) & (planned > 0))
    if wrong.any():
        row = int(wrong.argmax())
        raise SchemaError(
            f"{origin}: planned_tokens of run {frame['run'][row]!r} is {planned[row]:g}: it must be positive and "
            f"finite; {int(wrong.sum())} such rows. Correct it, or leave the cell empty"
        )
    return planned


def _from_rates(
    rates: np.ndarray, tokens: np.ndarray, codes: np.ndarray, rows: np.ndarray
) -> tuple[Schedules, tuple[str, ...]]:
    """Return whether the learning rates say that all trainings were finished, and a note if only some of them do."""
    measured = rows & np.isfinite(rates)
    last = last_rows(codes, tokens, rows)
    _, peak = _ends(rates, codes, measured)
    annealed = rates[last] < ANNEALED * peak[codes[last]]
    if annealed.all():
        return "lr", ()
    # A rate that is the same in all rows is the peak of the schedule, and says nothing of its end.
    if not annealed.any():
        return "assumed", ()
    return "assumed", (
        f"the learning rate of {int((~annealed).sum())} of {len(annealed)} trainings has not fallen below "
        f"{ANNEALED:.0%} of its peak, so the column lr does not say that all trainings are finished",
    )
