"""Count the tokens of texts with a tokenizer that a user names: a file, a folder, or a name that tiktoken knows.

In: texts. Out: the number of tokens of each, without the special tokens that a model puts around a text.

The libraries ``tokenizers`` and ``tiktoken`` do the work. They are optional, and imported when a tokenizer is loaded.
"""

import os
import re
from base64 import b64decode
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

import numpy as np

from curate.errors import SchemaError, first_few
from curate.models import pretrained
from curate.models.pretrained import ModelSource
from curate.shown import shortened
from curate.storage import files

# Characters that are encoded at a time. The library keeps about 130 bytes for each until its tokens are counted.
PIECE = 1 << 20
# Characters at the end of a piece that are searched for a place to cut.
SEARCHED = 1 << 16
# Where a long text is cut, the best place first. A tokenizer that splits texts into words begins a word at a space
# between letters, so that the count does not change.
CUTS = tuple(map(re.compile, (r"(?<=[^\W\d_])(?= [^\W\d_])", r"(?<=\S)(?=\s)", r"")))
KEPT = 4  # tokenizers that a process keeps
FILE = "tokenizer.json"
# The files of a tokenizer in a folder that has no tokenizer.json.
PARTS = ("*.json", "*.txt", "*.model", "*.tiktoken")
MISSING = "tokenizer={}: the package {} is not installed. Run: pip install 'curate-planner[tokenizer]'"
# How each encoding splits a text into words before it merges bytes. A file NAME.tiktoken holds the merges only.
# Source: tiktoken 0.14, tiktoken_ext/openai_public.py. MIT licence (LICENSE-tiktoken.txt), Copyright (c) 2022 OpenAI,
# Shantanu Jain.
GPT2_WORDS = r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"""
CL100K_WORDS = (
    r"""'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|"""
    r"""\s+(?!\S)|\s"""
)
ENDING = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
O200K_WORDS = (
    rf"[^\r\n\p{{L}}\p{{N}}]?[\p{{Lu}}\p{{Lt}}\p{{Lm}}\p{{Lo}}\p{{M}}]*[\p{{Ll}}\p{{Lm}}\p{{Lo}}\p{{M}}]+{ENDING}|"
    rf"[^\r\n\p{{L}}\p{{N}}]?[\p{{Lu}}\p{{Lt}}\p{{Lm}}\p{{Lo}}\p{{M}}]+[\p{{Ll}}\p{{Lm}}\p{{Lo}}\p{{M}}]*{ENDING}|"
    r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
WORDS = {
    "gpt2": GPT2_WORDS,
    "r50k_base": GPT2_WORDS,
    "p50k_base": GPT2_WORDS,
    "cl100k_base": CL100K_WORDS,
    "o200k_base": O200K_WORDS,
}


class CountFunction(Protocol):
    """Counts the tokens of texts."""

    def __call__(self, texts: list[str]) -> list[int]:
        """Return the number of tokens of each text."""
        ...


@dataclass(frozen=True)
class TokenCounter:
    """A loaded tokenizer.

    A text of over 2^20 characters is encoded in pieces, so that memory stays bounded. They are cut before a space
    between two letters. The count is then the same for tokenizers that split texts into words first; for others it may
    be off by about a token for each piece.
    """

    encode: CountFunction

    def count(self, texts: Sequence[str | None]) -> np.ndarray:
        """Return the number of tokens of n texts, (n,) int64; 0 for an empty or missing text."""
        counts = np.zeros(len(texts), np.int64)
        waiting: list[str] = []
        owners: list[int] = []
        size = 0
        for row, text in enumerate(texts):
            for piece in _pieces(text or ""):
                if waiting and size + len(piece) > PIECE:
                    np.add.at(counts, owners, self.encode(waiting))
                    waiting, owners, size = [], [], 0
                waiting.append(piece)
                owners.append(row)
                size += len(piece)
        if waiting:
            np.add.at(counts, owners, self.encode(waiting))
        return counts


def _pieces(text: str) -> Iterator[str]:
    """Yield a text in pieces of about ``PIECE`` characters."""
    start = 0
    while len(text) - start > PIECE:
        low = start + PIECE - SEARCHED
        places = (pattern.search(text, low, start + PIECE) for pattern in CUTS)
        stop = next(place.end() for place in places if place)
        yield text[start:stop]
        start = stop
    if text:
        yield text[start:] if start else text


def load(tokenizer: str) -> TokenCounter:
    """Return the tokenizer that a user names. A process loads it once, and again if its files change.

    Args:
        tokenizer: a ``tokenizer.json``; a folder that has one, or other files that transformers makes a tokenizer of;
            the id of a model in the cache of Hugging Face; a file ``NAME.tiktoken``, where NAME is an encoding; or the
            name of an encoding that the cache of tiktoken holds. Nothing is downloaded.

    Raises:
        SchemaError: if there is no such tokenizer, it cannot be read, or the package that reads it is missing.
    """
    return _loaded(tokenizer, tuple(files.stamp(path) for path in files_of(tokenizer)))


def files_of(tokenizer: str) -> list[Path]:
    """Return the files that decide the counts of a tokenizer; none for a name of tiktoken, whose files never change."""
    path = pretrained.cached(tokenizer) or Path(tokenizer)
    if not path.is_dir():
        return [path] if path.is_file() else []
    if (path / FILE).is_file():
        return [path / FILE]
    return sorted(file for pattern in PARTS for file in path.glob(pattern))


@lru_cache(maxsize=KEPT)
def _loaded(tokenizer: str, _stamps: tuple[str, ...]) -> TokenCounter:
    path = pretrained.cached(tokenizer) or Path(tokenizer)
    if path.is_dir():
        return TokenCounter(_of_file(path / FILE) if (path / FILE).is_file() else _of_folder(path))
    if path.is_file():
        return TokenCounter(_of_ranks(path) if path.suffix == ".tiktoken" else _of_file(path))
    return TokenCounter(_of_name(tokenizer))


def _of_file(path: Path) -> CountFunction:
    """Return the encoder of a ``tokenizer.json``."""
    # Workers are processes. With threads in each of them the threads would wait for each other.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        tokenizers = import_module("tokenizers")
    except ImportError:
        raise SchemaError(MISSING.format(path, "tokenizers")) from None
    try:
        tokenizer = tokenizers.Tokenizer.from_file(str(path))
    # The package raises a plain Exception for any fault of the file.
    except Exception as error:
        raise SchemaError(
            f"{path} cannot be read as a tokenizer.json of the package tokenizers: {shortened(str(error), 200)}. Name "
            "a tokenizer.json, a folder that has one, or a file NAME.tiktoken"
        ) from None
    return _quick(tokenizer)


def _quick(tokenizer: object) -> CountFunction:
    """Return the encoder of a tokenizer of the package tokenizers."""
    plain = cast("_Tokenizer", tokenizer)
    # Models cut texts and fill them up; here all tokens of a text count, and no others.
    plain.no_truncation()
    plain.no_padding()

    def encode(texts: list[str]) -> list[int]:
        # The fast way leaves out the place of each token in the text.
        return [len(encoding) for encoding in plain.encode_batch_fast(texts, add_special_tokens=False)]

    return encode


class _Tokenizer(Protocol):
    """The part of a tokenizer of the package tokenizers that is used."""

    def no_truncation(self) -> None: ...

    def no_padding(self) -> None: ...

    def encode_batch_fast(self, texts: list[str], *, add_special_tokens: bool) -> list[list[int]]: ...


def _of_folder(path: Path) -> CountFunction:
    """Return the encoder of a folder without a ``tokenizer.json``, as transformers makes it of the other files."""
    files_there = sorted(file.name for file in path.iterdir())
    if not files_there:
        raise SchemaError(f"{path} is an empty folder. Name a folder that has a {FILE}, or the file itself")
    names = first_few(files_there)
    try:
        tokenizer = pretrained.tokenizer_from(ModelSource(str(path)))
    except ImportError:
        raise SchemaError(
            f"{path} has no {FILE}, only {names}. Name a folder that has one, or install transformers, which may make "
            "one of the other files: pip install 'curate-planner[lm]'"
        ) from None
    except SchemaError as error:
        raise SchemaError(f"{path} has no {FILE}, and transformers makes no tokenizer of {names}: {error}") from None
    if (backend := getattr(tokenizer, "backend_tokenizer", None)) is None:
        raise SchemaError(f"{path} has no {FILE}, and its tokenizer runs in Python only. Save it as a {FILE}")
    return _quick(backend)


def _of_name(name: str) -> CountFunction:
    """Return the encoder of an encoding that tiktoken knows by name."""
    tried = f"tokenizer={name} is neither a file or folder here nor a model in the cache of Hugging Face"
    try:
        tiktoken = import_module("tiktoken")
    except ImportError:
        raise SchemaError(
            f"{tried}. If it is a name of tiktoken, install it: pip install 'curate-planner[tokenizer]'"
        ) from None
    names = tiktoken.list_encoding_names()
    if name not in names:
        raise SchemaError(
            f"{tried}, and tiktoken knows only {first_few(names, near=name)}. Name one of these, or a file"
        )
    with _without_fetching():
        try:
            return _ordinary(tiktoken.get_encoding(name))
        except FileNotFoundError as error:
            raise SchemaError(
                f"tokenizer={name}: tiktoken's cache has no file of this encoding, and nothing is downloaded here. Run "
                f"python -c \"import tiktoken; tiktoken.get_encoding('{name}')\" once, or name a file {name}.tiktoken"
            ) from error


@contextmanager
def _without_fetching() -> Iterator[None]:
    """Let tiktoken read its cache only. It has no option for this, so its reader of addresses is replaced meanwhile."""
    reader = import_module("tiktoken.load")
    read_file = vars(reader)["read_file"]

    def refuse(path: str) -> bytes:
        raise FileNotFoundError(path)

    vars(reader)["read_file"] = refuse
    try:
        yield
    finally:
        vars(reader)["read_file"] = read_file


def _of_ranks(path: Path) -> CountFunction:
    """Return the encoder of a file ``NAME.tiktoken``, whose name says how texts are split."""
    if path.stem not in WORDS:
        names = ", ".join(f"{name}.tiktoken" for name in WORDS)
        raise SchemaError(
            f"{path}: a file of tiktoken does not say how it splits texts into words, so its name must be that of its "
            f"encoding: {names}. Rename it, or name a tokenizer.json"
        )
    try:
        tiktoken = import_module("tiktoken")
    except ImportError:
        raise SchemaError(MISSING.format(path, "tiktoken")) from None
    ranks = _ranks(path)
    return _ordinary(tiktoken.Encoding(path.stem, pat_str=WORDS[path.stem], mergeable_ranks=ranks, special_tokens={}))


def _ranks(path: Path) -> dict[bytes, int]:
    """Return the rank of each token in a file of tiktoken: a line ``BASE64 RANK`` for each."""
    # tiktoken's own reader keeps a copy of every file under its path, and would not see that the file has changed.
    try:
        lines = (line.split() for line in path.read_bytes().splitlines() if line)
        ranks = {b64decode(token, validate=True): int(rank) for token, rank in lines}
    except ValueError as error:
        raise SchemaError(f"{path} cannot be read as a file of tiktoken: {shortened(str(error), 200)}") from None
    if missing := [byte for byte in range(256) if bytes([byte]) not in ranks]:
        raise SchemaError(f"{path} has no token for the byte {missing[0]}, so it is cut short. Fetch it again")
    return ranks


def _ordinary(encoding: object) -> CountFunction:
    """Return the encoder of an encoding of tiktoken. Names of special tokens in a text count as plain text."""
    encode = cast("_Encoding", encoding).encode_ordinary
    return lambda texts: [len(encode(text)) for text in texts]


class _Encoding(Protocol):
    """The part of an encoding of tiktoken that is used."""

    def encode_ordinary(self, text: str) -> list[int]: ...
