"""Show names and values of data to people: characters that a terminal would obey, or not show, are escaped.

Names of sources, pools, columns and files come from data. A name may hold an escape sequence that clears the screen, a
line break that looks like a further row, or a mark that turns the direction of writing. Every place that shows a name
to people calls `escaped`; files for machines keep the name as it is.
"""

import os


def escaped(text: str) -> str:
    r"""Return a text on one line, in which every character that has no visible shape is written as an escape.

    A line break becomes ``\n``, the escape character ``\x1b``, and a mark that turns the direction of writing
    ``\u202e``. Letters of all scripts, and plain spaces, stay as they are.
    """
    # Python calls control, format, surrogate and private characters, and all spaces but the plain one, not printable.
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def escaped_lines(text: str) -> str:
    """Return a text of several lines in which everything but its line breaks is escaped."""
    return "\n".join(map(escaped, text.split("\n")))


def shortened(text: str, characters: int = 120) -> str:
    """Return the first line of a text, cut to at most so many characters and escaped."""
    first = escaped(text.strip().split("\n")[0].strip())
    return first if len(first) <= characters else f"{first[: characters - 3]}..."


def printable(name: str) -> str:
    """Return a name on disk as text that can be printed and stored: bytes that are not UTF-8 as ``\\xff``."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def is_text(name: str) -> bool:
    """Return whether a name on disk is UTF-8. Python reads other bytes as surrogates, which no table can hold."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
