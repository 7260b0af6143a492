"""Join the two files of a swarm of small runs: the mixture of each run in one, and what was measured in the other.

``regmix`` reads the files of RegMix (Liu et al. 2024, arXiv 2407.01492): ``train_<domain>`` and
``metric/<domain>_val_loss``, joined on ``index``. ``swarm`` reads the files of Olmix and similar tools: one column for
each domain, and one for each metric, joined on ``run_id``.
"""

import re
from collections.abc import Callable, Sequence
from pathlib import PurePath

import numpy as np
import polars as pl

from curate import written_numbers
from curate.errors import SchemaError, first_few
from curate.runs import number_columns
from curate.runs.sources.named_table import NamedTable

KEYS = ("run_id", "run", "id", "index", "name")  # columns on which files are joined; the first that both have
IDENTITIES = (*KEYS, "group", "group_id", "display_name")  # columns that name a run, and hold no share and no metric
# Columns of a run table that either file may hold.
DESCRIPTIONS = re.compile(r"params|tokens|seed|step|training|planned_tokens|batch_tokens|lr|corpus|unique\..+")
THE_PILE = "the_pile_"  # before the names of the domains in the files that RegMix published
REGMIX_LOSS = re.compile(r"(?:metric/)?(?:valid_)?(.+?)(?:_val_loss)?")
REGMIX_TRAIN_LOSS = re.compile(r"(metric/)?train_loss")
# A size at the end of the name of a file of RegMix, such as train_mixture_1m.csv.
SIZE_IN_NAME = re.compile(r"_(\d+(?:\.\d+)?[mb])$", re.IGNORECASE)
# Values near which the sums of shares lie, and how far away they may be in the file that is taken for the mixtures.
SUMS, NEAR_SUM = (1.0, 100.0), 0.01
SHOWN = 2  # files that an error describes
MOST_ROWS = 0.9  # share of the rows whose sums must be so; a few may be misspelled, and are refused later


def regmix(files: Sequence[NamedTable]) -> list[NamedTable]:
    """Return one table for each pair of files of RegMix. The size is taken from the name of the file, with a note."""
    return [_regmix(*pair) for pair in _pairs(files, _is_regmix_mixture, "columns train_<domain>", _first_columns)]


def swarm(files: Sequence[NamedTable]) -> list[NamedTable]:
    """Return one table for each pair of a file of ratios and a file of metrics."""
    return [_swarm(*pair) for pair in _pairs(files, _is_mixture, "shares that sum to 1 in every row", _sums)]


def _pairs(
    files: Sequence[NamedTable],
    is_mixture: Callable[[NamedTable], bool],
    sign: str,
    seen: Callable[[NamedTable], str],
) -> list[tuple[NamedTable, NamedTable]]:
    """Return pairs of mixtures and results. The first file of mixtures belongs to the first file of results.

    ``sign`` says by what a mixture is known, and ``seen`` what a file has instead.
    """
    kinds = [is_mixture(file) for file in files]
    mixtures = [file for file, is_one in zip(files, kinds, strict=True) if is_one]
    results = [file for file, is_one in zip(files, kinds, strict=True) if not is_one]
    if not mixtures or len(mixtures) != len(results):
        raise SchemaError(
            f"of {first_few(file.origin for file in files)}, {len(mixtures)} hold mixtures ({sign}) and {len(results)} "
            f"hold results. Give one file of results for each file of mixtures. {'. '.join(map(seen, files[:SHOWN]))}"
        )
    return list(zip(mixtures, results, strict=True))


def _first_columns(file: NamedTable) -> str:
    return f"{file.origin} has the columns {first_few(file.frame.columns)}"


def _sums(file: NamedTable) -> str:
    """Return in words what the numbers in the rows of a file sum to."""
    names = _values(file.frame)
    if not names or file.frame.is_empty():
        return f"{file.origin} has no numbers"
    sums = _numbers(file.frame, names).sum(axis=1)
    return f"In the rows of {file.origin}, {first_few(names)} sum to between {sums.min():.4g} and {sums.max():.4g}"


def _is_regmix_mixture(file: NamedTable) -> bool:
    return sum(name.startswith("train_") for name in file.frame.columns) > 1


def _is_mixture(file: NamedTable) -> bool:
    """Return whether the numbers of a file sum to 1, or to 100, in nearly every row."""
    names = _values(file.frame)
    if len(names) == 0 or file.frame.is_empty():
        return False
    sums = _numbers(file.frame, names).sum(axis=1)
    return any(float(np.mean(np.abs(sums / total - 1) <= NEAR_SUM)) > MOST_ROWS for total in SUMS)


def _values(frame: pl.DataFrame) -> list[str]:
    """Return the columns of numbers that neither name nor describe a run. A few words in them are refused later."""
    return [
        column.name
        for column in frame.iter_columns()
        if column.name not in IDENTITIES
        and not DESCRIPTIONS.fullmatch(column.name)
        and number_columns.mostly_numbers(column)
    ]


def _numbers(frame: pl.DataFrame, names: Sequence[str]) -> np.ndarray:
    """Return the columns ``names`` (n, k) as numbers, with 0 for words and empty cells."""
    return frame.select(pl.col(names).cast(pl.Float64, strict=False).fill_nan(None).fill_null(0.0)).to_numpy()


def _regmix(mixture: NamedTable, results: NamedTable) -> NamedTable:
    domains = {
        name: f"weight.{_domain(name.removeprefix('train_'))}"
        for name in _values(mixture.frame)
        if name.startswith("train_")
    }
    losses = {
        name: f"loss.{_domain(match[1])}"
        for name in _values(results.frame)
        if not REGMIX_TRAIN_LOSS.fullmatch(name) and (match := REGMIX_LOSS.fullmatch(name))
    }
    joined = _joined(mixture, results, domains, losses)
    sizes = {
        match[1].lower() for file in (mixture, results) if (match := SIZE_IN_NAME.search(PurePath(file.origin).stem))
    }
    if len(sizes) > 1:
        raise SchemaError(
            f"{mixture.origin} and {results.origin} have different sizes in their names ({', '.join(sorted(sizes))}). "
            "Give the files in pairs: the first file of mixtures belongs to the first file of results"
        )
    if not sizes or "params" in joined.frame.columns:
        return joined
    (size,) = sizes
    params = written_numbers.number(size)
    note = f"{joined.origin}: params is {params:g} in all runs, by the name of the file"
    return joined.changed(joined.frame.with_columns(params=pl.lit(params)), note)


def _domain(name: str) -> str:
    return name.removeprefix(THE_PILE)


def _swarm(mixture: NamedTable, results: NamedTable) -> NamedTable:
    shares = {name: name if name.startswith("weight.") else f"weight.{name}" for name in _values(mixture.frame)}
    metrics = {
        name: name if name.startswith(("loss.", "metric.")) else f"loss.{name}" for name in _values(results.frame)
    }
    joined = _joined(mixture, results, shares, metrics)
    added = [name for name, column in metrics.items() if name != column]
    if not added:
        return joined
    return joined.changed(
        joined.frame,
        f"{results.origin}: {first_few(added)} are read as losses, where lower is better. If one of them is a metric, "
        "rename its column to metric.NAME",
    )


def _joined(mixture: NamedTable, results: NamedTable, shares: dict[str, str], losses: dict[str, str]) -> NamedTable:
    """Return the runs of both files, with new names for the columns of shares and of losses."""
    key = next((name for name in KEYS if name in mixture.frame.columns and name in results.frame.columns), None)
    if key is None:
        raise SchemaError(
            f"{mixture.origin} and {results.origin} have no column in common that names a run: give both a column "
            f"run_id. They have {first_few(mixture.frame.columns)}; and {first_few(results.frame.columns)}"
        )
    mixtures, measured = (_with_key(file, key) for file in (mixture, results))
    described = [name for name in measured.columns if DESCRIPTIONS.fullmatch(name) and name not in mixtures.columns]
    # Text that names a run, such as the display name, is kept. Of two columns with one name the first is.
    kept = [name for name in mixtures.columns if name not in shares and name not in (key, "run")]
    table = mixtures.select("run", *kept, *(pl.col(name).alias(column) for name, column in shares.items())).join(
        number_columns.numeric(measured).select(
            "run", *described, *(pl.col(name).alias(column) for name, column in losses.items())
        ),
        on="run",
        maintain_order="left",
    )
    origin = f"{mixture.origin} with {results.origin}"
    if table.is_empty():
        raise SchemaError(
            f"{origin}: no {key} is in both files. The first ones are {mixtures['run'][0]!r} and {measured['run'][0]!r}"
        )
    notes = [
        f"{file.origin}: {missing} of {file.frame.height} runs are not in {other.origin}, and are left out"
        for file, other in ((mixture, results), (results, mixture))
        if (missing := file.frame.height - table.height)
    ]
    return NamedTable(table, origin, (*mixture.notes, *results.notes, *notes))


def _with_key(file: NamedTable, key: str) -> pl.DataFrame:
    """Return the rows of a file with their key in the column ``run``."""
    keys = file.frame[key]
    # The key 7 is 7.0 in a file in which another row has none.
    if keys.dtype.is_float() and (keys == keys.round()).all():
        keys = keys.cast(pl.Int64)
    frame = file.frame.with_columns(run=keys.cast(pl.String)).drop_nulls("run")
    if frame.is_empty():
        raise SchemaError(f"{file.origin} has no rows with a value in its column {key}")
    twice = frame.filter(pl.col("run").is_duplicated())
    if not twice.is_empty():
        raise SchemaError(
            f"{file.origin}: {key} {twice['run'][0]} is in more than one row ({twice.height} such rows). Each run has "
            "one row in a file of mixtures and one in a file of results"
        )
    return frame
