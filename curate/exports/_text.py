"""Write values as text that JSON, YAML 1.1 and YAML 1.2 readers all read back exactly.

This file also writes the header of an export. The text of values is JSON in YAML's flow style, with one pool on each
line. Three traps lie between JSON and YAML: ``1e-05`` is a string in YAML 1.1, the characters U+0085 and U+2028 break
lines, and escaped surrogate pairs are not joined.
"""

import json
import re
from collections.abc import Mapping, Sequence

import numpy as np

from curate.pool.mixture import Mixture

# Control characters, line separators, byte-order marks and surrogates: a YAML reader refuses or changes them unescaped.
UNSAFE = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff\ud800-\udfff]")


def quoted(text: str) -> str:
    """Return a string in double quotes, on one line, with unsafe characters escaped."""
    return UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", json.dumps(text, ensure_ascii=False))


def decimal(value: float) -> str:
    """Return the shortest decimal without an exponent that reads back as the same float."""
    return np.format_float_positional(value, trim="0")


def flow(value: object) -> str:
    """Return a string, a number, a list or a mapping as text on one line."""
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{quoted(key)}: {flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, Sequence):
        return "[" + ", ".join(map(flow, value)) + "]"
    return decimal(value) if isinstance(value, float) else json.dumps(value)


def header(mixture: Mixture, *notes: str) -> str:
    """Return the comment lines that begin every exported file.

    They name the plan from which the file is made, repeat the ``notes`` of the export, and give the training tokens of
    each pool and the passes over it. They also name the pools that are left out.
    """
    lines = [f"curate export, {quoted(mixture.origin)}", *notes, "tokens of training, passes over the pool:"]
    for part in mixture.parts:
        guess = ", path guessed: give --path" if part.guessed else ""
        lines.append(f"  {part.tokens} {part.epochs:.4g} {quoted(part.pool.name)}{guess}")
    if mixture.left_out:
        lines.append(f"left out, no tokens: {', '.join(map(quoted, mixture.left_out))}")
    return "".join(f"# {line}\n" for line in lines)
