"""Damage a JSON file as hands, programs and disks do: one change at a time, from a seed."""

import copy
import json
import random
from collections.abc import Callable, Iterator

Path = tuple[str | int, ...]
LITERALS = {
    "@nan": "NaN",
    "@infinity": "-Infinity",
    "@overflow": "1e999",
    "@digits": "9" * 400,
    "@million": "9" * 10**6,
    "@half": r'"\ud800"',
    "@null": r'"a\u0000b"',
}
NUMBERS = [7, -1, -0.5, 0, 1e308, 1e25, 2**63, 2.5]
WRONG = ["x", "", *NUMBERS, True, None, [], {}, [[1]], {"x": 1}, "\x1b[2J", "\u202e", *LITERALS]


def paths(value: object, path: Path = ()) -> Iterator[Path]:
    """Every place in a record, without its top."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, entry in items:
        yield (*path, key)
        yield from paths(entry, (*path, key))


def holder(record: object, path: Path) -> object:
    for key in path[:-1]:
        record = record[key]
    return record


def drop(record, path, draw):
    del holder(record, path)[path[-1]]


def retype(record, path, draw):
    holder(record, path)[path[-1]] = copy.deepcopy(draw.choice(WRONG))


def rename(record, path, draw):
    parent = holder(record, path)
    if isinstance(parent, dict):
        parent[f"{path[-1]}s"] = parent.pop(path[-1])
    else:
        parent.insert(path[-1], parent[path[-1]])


def nest(record, path, draw):
    parent = holder(record, path)
    parent[path[-1]] = draw.choice([[parent[path[-1]]], {"value": parent[path[-1]]}])


def negate(record, path, draw):
    parent = holder(record, path)
    value = parent[path[-1]]
    number = isinstance(value, int | float) and not isinstance(value, bool)
    parent[path[-1]] = -value * draw.choice([1, 1e6]) if number else draw.choice(WRONG)


def repeat(record, path, draw):
    parent = holder(record, path)
    if isinstance(parent, dict):
        parent["@twice"] = {path[-1]: draw.choice(WRONG[:-7])}
    else:
        parent *= 2


Change = Callable[[object, Path, random.Random], None]
CHANGES: tuple[Change, ...] = (
    drop,
    retype,
    retype,
    rename,
    nest,
    negate,
    repeat,
)
WHOLE: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    lambda content, draw: content[: draw.randrange(len(content))],
    lambda content, draw: b"",
    lambda content, draw: draw.randbytes(200),
    lambda content, draw: b"\xef\xbb\xbf" + content,
    lambda content, draw: content.replace(b'"', b'"\xff', 1),
    lambda content, draw: b"[" * 100_000,
    lambda content, draw: b'{"a":' * 100_000 + content,
    lambda content, draw: b"9" * 10**6,
    lambda content, draw: b"[" + content + b"]",
    lambda content, draw: b"null",
)


def damaged(content: bytes, seed: int) -> tuple[str, bytes]:
    """What was done to a JSON file, and its new content."""
    draw = random.Random(seed)
    if draw.random() < 0.12:
        i = draw.randrange(len(WHOLE))
        return f"whole file {i}", WHOLE[i](content, draw)
    record = json.loads(content)
    path = draw.choice(list(paths(record)))
    change = draw.choice(CHANGES)
    change(record, path, draw)
    text = json.dumps(record)
    for name, literal in LITERALS.items():
        text = text.replace(f'"{name}"', literal)
    # A field that is there twice cannot be written from a dictionary.
    if '"@twice": {' in text:
        before, _, after = text.partition('"@twice": {')
        inner, _, rest = _balanced(after)
        text = before + inner + rest
    return f"{change.__name__} {'.'.join(map(str, path))}", text.encode("utf-8", "surrogatepass")


def _balanced(text: str) -> tuple[str, str, str]:
    """Split a text after the brace that closes the one before it."""
    inside, depth, escape = False, 1, False
    for i, c in enumerate(text):
        if inside:
            inside, escape = escape or c != '"', c == "\\" and not escape
        elif c == '"':
            inside = True
        else:
            depth += (c in "{") - (c in "}")
            if not depth:
                return text[:i], "}", text[i + 1 :]
    return text, "", ""
