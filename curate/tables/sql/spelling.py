"""Turn SQL as people write it into SQL that Polars reads.

In: the text, and the names of columns. Out: the same text, with names, fields and numbers spelled for Polars.
"""

import re
from collections.abc import Collection

import polars as pl

from curate.written_numbers import SUFFIXED, number

# A text, or a name in double quotes or back quotes. A quote within it is doubled.
QUOTED = r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|`(?:[^`]|``)*`"""
# How the names of columns begin that scorers and models write.
PREFIXES = ("score.", "cluster.", "emb.", "probs.", "logits.")
DETAIL = 200  # letters of another library's error that are shown


def plain(written: str, columns: Collection[str]) -> str:
    """Return the SQL that Polars reads.

    Polars splits names at dots. So the names in ``columns`` get quotes, and so do names such as ``score.length``,
    unless the part before the dot is a column. ``meta['lang']`` becomes ``meta."lang"``: Polars would look for an
    element of a list. ``70M`` becomes a number.
    """
    # Longest first: weight.a-b must not be read as weight.a minus b.
    dotted = sorted((name for name in columns if "." in name), key=len, reverse=True)
    names = [*map(re.escape, dotted)]
    names += [rf"{re.escape(prefix)}\w+(?:\.\w+)*" for prefix in PREFIXES if prefix[:-1] not in columns]
    # What stands in quotes matches first, and stays as it is. An array of texts also has quotes within brackets.
    pattern = (
        r"""(?<!(?i:\barray))(?<=[\w"\]`])\s*\[\s*'(?P<field>(?:[^']|'')*)'\s*\]"""
        rf"|{QUOTED}"
        rf"|(?<![\w.])(?:(?P<name>{'|'.join(names)})|(?P<number>(?i:{SUFFIXED.pattern})))(?![\w.])"
    )

    def spelled(match: re.Match[str]) -> str:
        if match["field"] is not None:
            return "." + _identifier(match["field"].replace("''", "'"))
        if match["name"]:
            return _identifier(match["name"])
        return repr(number(match["number"])) if match["number"] else match[0]

    return re.sub(pattern, spelled, written)


def without_quoted(written: str) -> str:
    """Return SQL without its texts and names in quotes, in which no word is a keyword."""
    return re.sub(QUOTED, "''", written)


def detail(error: BaseException | str) -> str:
    """Return the error of another library as a part of one line."""
    text = str(error)
    if isinstance(error, pl.exceptions.StructFieldNotFoundError):
        return f"there is no field {text.partition(chr(10))[0].strip()!r}"
    # Our own messages list the columns, and show the expression as it was written.
    for end in ("; valid columns", "This error occurred", "Resolved plan"):
        text = text.partition(end)[0]
    return " ".join(text.split())[:DETAIL].rstrip(". ")


def _identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
