"""Read names of pools, evals and scores from the text of an option. This is the one place with the rules.

``NAME=NUMBER`` is split at its last "=", so that a name may hold "=" itself, as the names of hive folders do. A list is
split at its commas. A name in double quotes may hold anything, commas too; within quotes, two double quotes stand for
one: ``"a, b"=0.3,lang=de=0.7`` has the names ``a, b`` and ``lang=de``.
"""

import re

# An item that starts with a quoted name, or one up to the next comma.
ITEM = re.compile(r'(\s*"(?:[^"]|"")*"\s*(?:=[^,]*)?|[^,]*)(?:,|$)')
QUOTED = re.compile(r'\s*"((?:[^"]|"")*)"\s*(?:=(.*))?', re.DOTALL)
QUOTING = """put a name that holds a comma, or ends like lang=2, in double quotes, as in '"a,b"=0.5'"""


def split(text: str) -> list[str]:
    """Return the items of a list, as they are written. Names keep their quotes."""
    items, position = [], 0
    while True:
        match = ITEM.match(text, position)
        assert match is not None  # the second form matches any text
        items.append(match[1])
        if match.end() == len(text) and not match[0].endswith(","):
            return items
        position = match.end()


def name(item: str) -> str:
    """Return the name that an item is, without quotes and without spaces around it."""
    quoted = QUOTED.fullmatch(item)
    return item.strip() if quoted is None or quoted[2] is not None else quoted[1].replace('""', '"')


def names(text: str) -> list[str]:
    """Return the names in a list."""
    return [name(item) for item in split(text)]


def valued(item: str) -> tuple[str, str | None]:
    """Return the name in ``NAME=VALUE`` and the text of the value, which holds no "="; None if there is no "="."""
    quoted = QUOTED.fullmatch(item)
    if quoted is not None:
        return quoted[1].replace('""', '"'), quoted[2]
    text, equals, value = item.rpartition("=")
    return (text, value) if equals else (item, None)
