"""Write the card of a data set: the README.md that Hugging Face `datasets` and people read.

In: the splits of the data set, the types of its columns, and sections of text. Out: Markdown with YAML front matter.
`datasets.load_dataset` reads from the front matter which files belong to which split. Names are written as JSON
strings, which are YAML strings too.
"""

import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from curate import __version__
from curate.shown import escaped
from curate.storage.files import write_text
from curate.tables.token_counts import TOKENS

CARD = "README.md"
MOST_ROWS = 200  # of a table in the card; a longer one is a file of its own
# What `datasets` calls Arrow's types where the two names differ.
NAMES = {"double": "float64", "float": "float32", "halffloat": "float16", "date32[day]": "date32"}


@dataclass(frozen=True)
class Split:
    """One split of a data set: its name, the glob of its files, and the rows and tokens in it."""

    name: str
    files: str
    rows: int
    tokens: int


def save(
    folder: Path,
    title: str,
    splits: Sequence[Split],
    body: Iterable[str],
    columns: Mapping[str, pa.DataType | None] | None = None,
    *,
    tokens_noun: str = TOKENS,
) -> None:
    """Write the card of a data set to ``folder/README.md``.

    Args:
        folder: the folder of the data set.
        title: the heading.
        splits: the splits; the globs of their files are relative to the folder.
        body: the lines below the table of splits.
        columns: the types of the columns, None for one of mixed types. Files of JSON need them, since they do not say
            the types themselves.
        tokens_noun: what the tokens are called: see `curate.tables.token_counts`.
    """
    sizes = table(("split", "rows", tokens_noun), [(split.name, split.rows, split.tokens) for split in splits])
    lines = [*_front_matter(splits, columns), "", f"# {escaped(title)}", "", *sizes, "", *body]
    write_text(folder / CARD, "\n".join(lines) + "\n")


def table(header: Sequence[str], rows: Iterable[Sequence[object]], more: str = "") -> list[str]:
    """Return a table in Markdown, at most ``MOST_ROWS`` rows of it. ``more`` says where the others are."""
    listed = list(rows)
    marks = ["---:" if listed and not isinstance(value, str) else "---" for value in (listed or [header])[0]]
    lines = [f"| {' | '.join(header)} |", f"|{'|'.join(marks)}|"]
    lines += [f"| {' | '.join(map(_cell, row))} |" for row in listed[:MOST_ROWS]]
    if len(listed) > MOST_ROWS:
        lines += ["", f"{len(listed) - MOST_ROWS:,} more rows are in {more}." if more else "More rows are left out."]
    return lines


def made_with(command: str) -> list[str]:
    """Return the section that says by which command and version a data set was made."""
    return ["## How it was made", "", f"With curate {__version__}:", "", f"    {escaped(command)}"]


def command(job: str, inputs: Sequence[object], options: Mapping[str, object], defaults: Mapping[str, object]) -> str:
    """Return the command line of a job.

    Args:
        job: the name of the job.
        inputs: the arguments without a flag.
        options: the other options but ``--out``, by their names in Python. A mapping is written as NAME=VALUE, and a
            list as several options.
        defaults: values that are left out.
    """
    # The output is not named: the same rows in another folder have the same card.
    words = ["curate", job, *map(str, inputs)]
    for name, value in options.items():
        # Not `in (None, "", False)`, since 0 equals False.
        if value is None or value is False or value == "" or (name in defaults and defaults[name] == value):
            continue
        flag = f"--{name.replace('_', '-')}"
        if isinstance(value, Mapping):
            words += [word for key, item in value.items() for word in (flag, f"{key}={item}")]
        elif isinstance(value, list | tuple):
            words += [word for item in value for word in (flag, str(item))]
        else:
            words += [flag] if value is True else [flag, str(value)]
    return shlex.join([*words, "--out", "OUT"])


def _front_matter(splits: Sequence[Split], columns: Mapping[str, pa.DataType | None] | None) -> list[str]:
    """Return the lines of YAML that `datasets` reads."""
    lines = ["---", "configs:", "- config_name: default", "  data_files:"]
    for split in splits:
        lines += [f"  - split: {split.name}", f"    path: {json.dumps(split.files)}"]
    if columns:
        lines += ["dataset_info:", "  features:"]
        lines += [line for name, kind in columns.items() for line in _feature(name, kind, "  ")]
    return [*lines, "---"]


def _feature(name: str, kind: pa.DataType | None, indent: str) -> list[str]:
    """Return a column, or a field of a struct, as `datasets` writes it in YAML."""
    return [f"{indent}- name: {json.dumps(name)}", *_type(kind, indent + "  ")]


def _type(kind: pa.DataType | None, indent: str, key: str = "") -> list[str]:
    """Return a type as lines of YAML; ``key`` is ``list`` for the items of a list."""
    if kind is not None and pa.types.is_struct(kind):
        inner = [line for field in kind for line in _feature(field.name, field.type, indent)]
        return [f"{indent}{key or 'struct'}:", *inner]
    if kind is not None and pa.types.is_list(kind):
        if key:
            return [f"{indent}{key}:", *_type(kind, indent + "  ")]
        return _type(kind.value_type, indent, "list")
    return [f"{indent}{key or 'dtype'}: {'json' if kind is None else NAMES.get(str(kind), str(kind))}"]


def _cell(value: object) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    return escaped(str(value).strip()).replace("\\", "\\\\").replace("|", "\\|")
