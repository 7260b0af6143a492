"""Read the options that map columns: ``--columns``, ``--text-column``, ``--join`` and ``--render``."""

import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches

from curate import written_names
from curate.errors import SchemaError, first_few
from curate.tables.mapping.column_mapping import CHAT, TEXT, ColumnMapping, plain_name, quoted_name, spelled

NAMED = (TEXT, "id", "source", "tokens", "label", "member", "correct")
PREFIXES = ("emb.", "probs.", "logits.")
# Columns that may be an SQL expression: they hold one value that is small, or a text. Vectors and predictions are
# columns of their own.
COMPUTED = (TEXT, "id", "source", "tokens", "label")
# Shells take the quotes away from text="Raw Content". Words alone are never an expression with a text as its value.
SPACED = re.compile(r"[\w ]+")
EXAMPLE = """--columns 'text="Raw Content",id=DocID,source=meta.domain'"""
OPENING, CLOSING = "([{", ")]}"


def mapping(
    columns: str | Mapping[str, str] = "", text_column: str = TEXT, join: str | Sequence[str] = (), render: str = ""
) -> tuple[str, ColumnMapping]:
    """Return the column of texts, and the mapping of the other columns.

    Args:
        columns: ``text="Raw Content",id=DocID,...``, or a dictionary from each name to its right side.
        text_column: the column of texts.
        join: columns whose texts are joined, separated by commas.
        render: ``chat``, or empty.

    Raises:
        SchemaError: if an option cannot be read, or two of them contradict each other.
    """
    targets = _targets(columns)
    joined = tuple(written_names.names(join)) if isinstance(join, str) and join else tuple(join)
    text = targets.get(TEXT)
    if text is not None and text_column != TEXT and plain_name(text) != text_column:
        raise SchemaError(f"--columns text={text} and --text-column {text_column} differ. Give one of the two")
    if joined and (text is not None or text_column != TEXT):
        raise SchemaError(
            f"--join {','.join(joined)} makes the text of each row, so --columns text=... and --text-column have no "
            "use. Leave out one of the two"
        )
    if joined and render:
        raise SchemaError(
            f"--join {','.join(joined)} and --render {render} both make the text of each row. Give one of the two"
        )
    if render not in ("", CHAT):
        raise SchemaError(f"--render {render} is unknown. The only value is {CHAT}")
    if twice := next((name for name in joined if joined.count(name) > 1 or not name), None):
        raise SchemaError(f"--join names {twice!r} twice. Name each column once")
    if text is not None and (name := plain_name(text)) is not None:
        text_column = name
        del targets[TEXT]
    if render and TEXT in targets:
        raise SchemaError(
            f"--render {render} reads a column, and --columns text={targets[TEXT]} may be an expression. Put a name "
            'that is not a plain word in double quotes: text="..."'
        )
    return text_column, ColumnMapping(tuple(sorted(targets.items())), joined, render)


def _targets(columns: str | Mapping[str, str]) -> dict[str, str]:
    """Return what the user wrote for each column that jobs read, in one spelling."""
    pairs = list(columns.items()) if isinstance(columns, Mapping) else [_pair(item) for item in _items(columns)]
    targets: dict[str, str] = {}
    for name, written in pairs:
        if not (name in NAMED or any(name.startswith(prefix) and name != prefix for prefix in PREFIXES)):
            choices = ", ".join((*NAMED, *(f"{prefix}NAME" for prefix in PREFIXES)))
            raise SchemaError(f"--columns: {name!r} is not a column that jobs read. They read {choices}: {EXAMPLE}")
        if name in targets:
            raise SchemaError(f"--columns names {name} twice: {name}={targets[name]} and {name}={written}. Keep one")
        if not written.strip() or quoted_name(written) == "":
            raise SchemaError(f"--columns {name}= names no column. Write {name}=COLUMN")
        is_name = name not in COMPUTED or (name == TEXT and SPACED.fullmatch(written.strip()))
        if is_name and plain_name(written) is None:
            # No expression is possible, so the text is the name as it stands.
            written = '"' + written.strip().replace('"', '""') + '"'
        targets[name] = spelled(written)
    return targets


def _pair(item: str) -> tuple[str, str]:
    name, equals, written = item.partition("=")
    if not equals:
        raise SchemaError(f"--columns: {item.strip()!r} is not NAME=COLUMN, as in {EXAMPLE}")
    return name.strip().strip('"'), written.strip()


def _items(text: str) -> list[str]:
    """Return the items between commas. Commas in quotes and in brackets separate nothing."""
    items, start, depth, quote = [], 0, 0, ""
    for place, letter in enumerate(text):
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "\"'":
            # An apostrophe within a word is no quote: text=l'original.
            quote = letter if letter == '"' or not text[place - 1 : place].isalnum() else ""
        elif letter in OPENING:
            depth += 1
        elif letter in CLOSING:
            depth = max(0, depth - 1)
        elif letter == "," and not depth:
            items.append(text[start:place])
            start = place + 1
    if quote or depth:
        what = "a quote" if quote else "a bracket"
        raise SchemaError(f"--columns {text}: {what} is not closed. Put names that hold such signs in double quotes")
    return [item for item in (*items, text[start:]) if item.strip()]


def shown(names: Sequence[str], near: str) -> str:
    """Return the columns of a file for a message about a missing one, the name most like it first."""
    alike = get_close_matches(near, names, n=1, cutoff=0.6) or [
        name for name in names if name.casefold() == near.casefold()
    ]
    return f"it has {first_few(names, near=near)}" + (f". Did you mean {alike[0]}?" if alike else "")
