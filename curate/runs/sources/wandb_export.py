"""Read what Weights & Biases exports: a table of runs (CSV or JSON), or the history of runs.

Exports name their columns as the training code did. Columns with a usual name for the parameters, the tokens, the
losses on held-out data and the mixture become those of a run table, and a note says which. ``--map`` names all others.
"""

import ast
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import PurePath

import polars as pl

from curate.errors import SchemaError, first_few
from curate.runs import number_columns
from curate.runs.sources import json_table
from curate.runs.sources.named_table import NamedTable

# Columns whose cells are dictionaries, as the export script of the documentation of Weights & Biases writes them.
NESTED = ("config", "summary", "summary_metrics", "summaryMetrics")
HISTORY = "history"  # a list of the steps of a run
FINISHED = "finished"  # the only state of a run that ended well
EMPTY = ("", "-", "NaN", "nan", "null", "None", "N/A", "Infinity", "-Infinity")  # cells without a number
STATES, NAMES, IDS = ("state",), ("run", "name", "run_name", "display_name"), ("id", "run_id")
STEPS = ("_step", "step", "global_step", "trainer/global_step")
CHART = "__MIN"  # the end of a column in the export of a chart, which has no mixture and no size
# Usual last parts of names, such as num_params in model/num_params.
PARAMS = {"params", "n_params", "num_params", "nparams", "parameters", "n_parameters", "num_parameters",
          "model_params", "model_parameters", "total_params", "total_parameters", "model_size"}  # fmt: skip
TOKENS = {"tokens", "n_tokens", "num_tokens", "tokens_seen", "num_tokens_seen", "total_tokens", "train_tokens",
          "training_tokens", "consumed_tokens", "tokens_consumed", "num_input_tokens_seen"}  # fmt: skip
HELD_OUT = {"eval", "evals", "val", "valid", "validation", "test", "dev", "heldout", "held_out"}
SHARES = {"weight", "weights", "mix", "mixture", "mixtures", "ratio", "ratios", "share", "shares", "proportion",
          "proportions", "domain_weights", "mixture_weights", "data_mix", "data_mixture"}  # fmt: skip
# Parts of the name of a loss that do not name the data on which it is measured.
NOT_DATA = HELD_OUT | {"loss", "losses", "ce", "cross", "entropy", "lm", "metric", "metrics", "avg", "mean"}
# Parts of names of losses that are not of the last step.
OTHER_STATISTICS = {"min", "max", "best", "std", "var", "count", "lowest", "ema"}
OUTER = re.compile(r"[./]")  # separates groups of names, as in eval/web/loss
WORDS = re.compile(r"[./_\s-]+")


def read(table: NamedTable) -> NamedTable:
    """Return the rows of finished runs with one column for each field of their configuration and their results.

    Raises:
        SchemaError: the export of a chart, or a table in which no run finished.
    """
    _refuse_chart(table)
    if table.frame.is_empty():
        raise SchemaError(f"{table.origin} has no rows. Export the runs again")
    frame = _without_empty_words(_flat(table.frame))
    notes = []
    if (state := _first(frame, STATES)) is not None:
        states = frame[state].cast(pl.String).fill_null(FINISHED).str.to_lowercase()
        others = Counter(states.filter(states != FINISHED).to_list())
        if len(others) and sum(others.values()) == frame.height:
            raise SchemaError(f"{table.origin}: no run finished ({_counted(others)})")
        if others:
            notes.append(
                f"{table.origin}: {sum(others.values())} of {frame.height} rows are of runs that did not finish "
                f"({_counted(others)}), and are left out"
            )
            frame = frame.filter(states == FINISHED)
    return table.changed(_with_names(frame, table.origin), *notes)


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))


def _refuse_chart(table: NamedTable) -> None:
    if chart := next((name for name in table.frame.columns if name.endswith(CHART)), None):
        raise SchemaError(
            f"{table.origin} is the export of a chart (it has the column {chart!r}), which says nothing of sizes and "
            "mixtures. Export the table of runs, or the runs with their configuration as JSON"
        )


def _flat(frame: pl.DataFrame) -> pl.DataFrame:
    """Return a frame in which the dictionaries of cells are columns, and each step of a history is a row."""
    nested = [name for name in NESTED if name in frame.columns and frame[name].dtype == pl.String]
    if HISTORY in frame.columns:
        nested.append(HISTORY)
    if nested:
        rows = []
        for row in frame.iter_rows(named=True):
            plain = {name: value for name, value in row.items() if name not in nested}
            for name in nested:
                if name != HISTORY and isinstance(content := _content(row[name]), Mapping):
                    plain |= {f"{name}.{key}": value for key, value in json_table.flat(content).items()}
            steps = _content(row[HISTORY]) if HISTORY in nested else None
            steps = [step for step in steps if isinstance(step, Mapping)] if isinstance(steps, list) else []
            rows += [{**plain, **json_table.flat(step)} for step in steps] or [plain]
        frame = json_table.frame(rows)
    return _short_names(frame)


def _content(cell: object) -> object:
    """Return what a cell holds in JSON or as Python prints it; the cell itself if it is neither."""
    if not isinstance(cell, str):
        return cell
    try:
        return json.loads(cell)
    except ValueError:
        pass
    try:
        # Python prints NaN and infinity without quotes, which are no literals.
        return ast.literal_eval(re.sub(r"(?<=[:\[,] )-?(nan|inf)\b", "None", cell))
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return cell


def _short_names(frame: pl.DataFrame) -> pl.DataFrame:
    """Return a frame without the prefixes config. and summary., and without the .value of raw configurations."""
    frame = frame.drop(
        name for name in frame.columns if name.endswith(".desc") or _without_prefix(name).startswith("_wandb")
    ).rename(lambda name: name.removesuffix(".value"))
    names = {name: _without_prefix(name) for name in frame.columns}
    counts = Counter(names.values())
    # Where the configuration and the results have one name, both keep their prefix.
    return frame.rename({name: short for name, short in names.items() if counts[short] == 1})


def _without_prefix(name: str) -> str:
    prefix, dot, rest = name.partition(".")
    return rest if dot and prefix in NESTED else name


def _without_empty_words(frame: pl.DataFrame) -> pl.DataFrame:
    """Return a frame in which words such as NaN and infinite numbers are empty cells, and text of numbers is numbers.

    A run that diverged has such cells.
    """
    texts = [name for name, dtype in frame.schema.items() if dtype == pl.String]
    frame = number_columns.numeric(frame.with_columns(pl.col(texts).replace(list(EMPTY), None)), but=(*NAMES, *IDS))
    floats = [name for name, dtype in frame.schema.items() if dtype.is_float()]
    return frame.with_columns(pl.when(pl.col(name).is_finite()).then(pl.col(name)).alias(name) for name in floats)


def _with_names(frame: pl.DataFrame, origin: str) -> pl.DataFrame:
    """Return a frame with the column run. Rows of one run are its checkpoints, and share the column training."""
    column, key = _first(frame, NAMES), _first(frame, IDS)
    step = _first(frame, STEPS)
    names = pl.repeat(PurePath(origin).stem, frame.height, eager=True)
    if column is not None:
        names = frame[column].cast(pl.String)
        # Names that people give to runs need not differ. Identifiers do.
        if key is not None:
            runs = pl.DataFrame({"name": names, "id": frame[key].cast(pl.String)})
            shared = pl.col("id").n_unique().over("name") > 1
            names = runs.select(pl.when(shared).then(pl.col("name") + "-" + pl.col("id")).otherwise("name")).to_series()
    elif key is not None:
        names = frame[key].cast(pl.String)
    frame = frame.drop(name for name in frame.columns if name == "run").with_columns(run=names)
    if step is None or not names.is_duplicated().any():
        return frame
    training = {} if "training" in frame.columns else {"training": names}
    steps = frame[step].cast(pl.Int64, strict=False).cast(pl.String)
    # A row without a step keeps the name of its run.
    return frame.with_columns(run=names + ("@" + steps).fill_null(""), **training)


def _first(frame: pl.DataFrame, names: Iterable[str]) -> str | None:
    """Return the first column with one of these names, in small or capital letters."""
    lower = {column.lower(): column for column in reversed(frame.columns)}
    return next((lower[name] for name in names if name in lower), None)


def with_run_columns(table: NamedTable, mapped: Iterable[str]) -> NamedTable:
    """Return the table of an export with the columns of a run table.

    A note says which column was read as which.

    ``mapped`` are the columns that the column map computed. They are not looked for.

    Raises:
        SchemaError: no column, or several columns, have a usual name for the parameters or the tokens.
    """
    frame, mapped = table.frame, tuple(mapped)
    sources: dict[str, str] = {}
    for name, spellings in (("params", PARAMS), ("tokens", TOKENS)):
        if name not in frame.columns:
            sources[name] = _only(table, name, spellings)
    for kind, named in (("loss", _loss), ("weight", _share)):
        # A user who maps one loss chooses the losses.
        if not any(name.startswith(f"{kind}.") for name in (*frame.columns, *mapped)):
            # A word in a column of numbers is refused when the column is used.
            numbers = [column.name for column in frame.iter_columns() if number_columns.mostly_numbers(column)]
            sources |= _named(table, kind, {column: named(column) for column in numbers})
    frame = frame.with_columns(pl.col(column).alias(name) for name, column in sources.items())
    notes = []
    if sources:
        read_as = first_few(f"{name} = {column}" for name, column in sources.items())
        notes.append(f"{table.origin}: the columns are read as {read_as}. Other columns are named with --map")
    if not any(name.startswith("weight.") for name in frame.columns):
        notes.append(
            f"{table.origin}: no column has a usual name for the share of a pool, so all runs count as runs on one pool"
        )
    losses = [name for name in frame.columns if name.startswith("loss.")]
    # A history has a row for each step that logged anything; only some of them logged a loss on held-out data.
    if "training" in frame.columns and losses:
        measured = frame.filter(pl.any_horizontal(pl.col(losses).is_not_null()))
        if 0 < measured.height < frame.height:
            notes.append(
                f"{table.origin}: {frame.height - measured.height} of {frame.height} steps have no loss on held-out "
                "data, and are left out"
            )
            frame = measured
    return table.changed(frame, *notes)


def _only(table: NamedTable, name: str, spellings: set[str]) -> str:
    """Return the only column of numbers whose last part is a usual name for the parameters or the tokens."""
    numbers = [column for column, dtype in table.frame.schema.items() if dtype.is_numeric()]
    usual = [column for column in table.frame.columns if OUTER.split(column)[-1].lower().replace("-", "_") in spellings]
    # If all of them are text, such as 70,000,000, the error about the first cell says more than that there are none.
    alike = [column for column in usual if column in numbers] or usual
    # Of the tokens that were planned and those that were seen, the results tell the latter.
    results = [column for column in alike if column.startswith("summary")]
    alike = results if name == "tokens" and len(results) == 1 else alike
    if len(alike) == 1:
        return alike[0]
    how = f"--map '{name}=COLUMN'" + (" or --map 'tokens=_step * TOKENS_PER_STEP'" if name == "tokens" else "")
    if not alike:
        raise SchemaError(
            f"{table.origin} has no column with a usual name for the {'parameters' if name == 'params' else name}. "
            f"Name it with {how}. Its columns of numbers: {first_few(numbers, near=name) or 'none'}"
        )
    raise SchemaError(f"{table.origin} has several columns that may hold {name}: {first_few(alike)}. Choose with {how}")


def _named(table: NamedTable, kind: str, names: Mapping[str, str | None]) -> dict[str, str]:
    """Return the column of each loss, or of each share. Two columns of one name are refused."""
    columns: dict[str, str] = {}
    for column, name in names.items():
        if name is None:
            continue
        if (full := f"{kind}.{name}") in columns:
            raise SchemaError(
                f"{table.origin}: both {columns[full]} and {column} look like {full}. Choose with --map '{full}=COLUMN'"
            )
        columns[full] = column
    return columns


def _loss(column: str) -> str | None:
    """Return the eval of a column that is a loss on held-out data, else None: ``web`` for ``eval/web/loss``."""
    all_words = set(WORDS.split(column.lower()))
    if "loss" not in all_words or not HELD_OUT & all_words or OTHER_STATISTICS & all_words:
        return None
    parts = []
    for part in OUTER.split(column):
        words = [word for word in re.split(r"[_\s-]+", part) if word and word.lower() not in NOT_DATA]
        parts += ["_".join(words)] if words else []
    return ".".join(parts) or "val"


def _share(column: str) -> str | None:
    """Return the pool of a column that is a share of the mixture, else None: ``web`` for ``data.mixture.web``."""
    parts = OUTER.split(column)
    for place, part in enumerate(parts[:-1]):
        if part.lower() in SHARES:
            return ".".join(parts[place + 1 :])
    return None
