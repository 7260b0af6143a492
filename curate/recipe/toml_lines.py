"""Find the line of a TOML file in which a key stands, so that a message can name it.

In: the text of a valid TOML file, a table and a key. Out: the number of the line, from 1, or None. Python's reader of
TOML tells no lines. This one knows headers and keys at the start of a line, which is how people write recipes; where a
key is written in another way, the message names the table alone.
"""

import re

HEADER = re.compile(r"\s*\[{1,2}\s*(?P<name>[^\[\]]+?)\s*\]{1,2}\s*(#.*)?")
KEY = re.compile(r"\s*(?P<key>[A-Za-z0-9_-]+|\"[^\"]*\"|'[^']*')\s*[.=]")


def line_of(text: str, table: str, key: str = "", *, number: int = 0) -> int | None:
    """Return the line of a key, or of the header of its table if ``key`` is empty.

    ``table`` is empty for the keys above the first header. ``number`` counts the tables of the same name from 0, as
    those of ``[[score]]``.
    """
    current, count = "", -1
    for line_number, line in enumerate(text.splitlines(), start=1):
        if header := HEADER.fullmatch(line):
            current = header["name"].strip("\"'")
            count += current == table
            if not key and current == table and count == number:
                return line_number
            continue
        inside = current == table and (not table or count == number)
        if inside and key and (match := KEY.match(line)) and match["key"].strip("\"'") == key:
            return line_number
    return None
