"""How badly a text compresses, on one scale for texts of any length."""

import math
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from curate.errors import SchemaError
from curate.words import ngrams

FORMAT = 2  # since format 2 a text is compared with ordinary texts of its length
# Repeats are found up to 762 bytes back: zlib keeps 262 of the 2^10 bytes of the window for its next match. With a
# larger window, zlib would find more repeats in longer texts, and the score would follow length (docs/decisions.md).
WINDOW_BITS = 10
MEMORY_LEVEL = 4  # tables of 2^11 entries, which a window of 1,024 bytes does not fill; smaller tables are slower
FRAME_BYTES = 2  # of a DEFLATE block with fixed codes: 3 bits before, 7 bits after, rounded up to bytes
FIRST_LONG_CODE = 144  # bytes from here on take 9 bits as literals, those below take 8 (RFC 1951, section 3.2.6)
SHORT_CODED = bytes(range(FIRST_LONG_CODE))
# Alphabets lie below this code point, most of them within one block of 128; Chinese, kana and Hangul lie above.
FIRST_WIDE = 0x2E80

# What ordinary texts of n bytes save: SAVED * n / (n + HALF). The three constants were fitted to Python code and to
# prose by benchmarks/scorers/compression_by_length.py, so that the score does not follow the length of either.
SAVED = 0.55  # of a long text
HALF = 200  # bytes of the text that saves half as much
# Added to the savings of a text and to the expected savings. In short texts, code saves bytes earlier than prose does.
# With this constant, the scores of code and of prose stay level at every length.
PRIOR = 0.2
# Short texts that only repeat themselves would score below 0. Scores under 0.1 are mapped to positive values, in the
# same order.
TAIL = 0.1


@dataclass(frozen=True)
class Compression:
    """How badly a text compresses for its length; high is hard to compress, low repeats itself.

    ``score.compression`` (float64, 0 to 1) compares the compressed size of a text with that of ordinary texts of the
    same length. At every length, code scores about 0.4 and prose about 0.6. Keep high scores. The lowest are
    boilerplate, tables and repeated phrases. The very highest, over about 0.85, are noise: keys, hashes and encoded
    files. A repeat counts only within a distance of 762 bytes; the scorer ``repetition`` finds repeats that are further
    apart. A text that is too short to repeat itself scores between 0.45 (one letter) and 0.7 (50 letters). An empty or
    null text scores 0.

    A letter of any alphabet counts as one byte, and a Chinese, Japanese or Korean character as two. Prose then scores
    about 0.6 in every script. In UTF-8 a letter of Hindi takes three bytes, and the first two are nearly always the
    same.

    A text of n bytes saves s = 1 - compressed / uncompressed, both in fixed Huffman codes. Ordinary texts save e =
    0.55 n / (n + 200). With x = 1.2 - (s + 0.2) 0.75 / (e + 0.2), the score is x, or 0.1 exp(10 x - 1) if x is under
    0.1. A long text without a repeat has s = 0 and scores 1.

    Options:
        level: effort of zlib, 1 (fastest) to 9 (smallest) (default 6).

    Source: DEFLATE is RFC 1951.
    """

    level: int = 6
    needs = ("text",)
    schema = {"score.compression": pl.Float64()}
    meanings = {"score.compression": "quality"}

    def __post_init__(self) -> None:
        """Refuse an effort that zlib does not have."""
        if not 1 <= self.level <= 9:
            raise SchemaError(f"compression: level={self.level} must be 1 to 9")

    def __call__(self, batch: pl.DataFrame) -> pl.DataFrame:
        """Score a batch."""
        pieces = ngrams.pieces(batch["text"])
        scores = [share_kept(raw, self.level) for piece in pieces for raw in text_bytes(piece.to_list())]
        return pl.DataFrame({"score.compression": scores}, schema=dict(self.schema))


def text_bytes(texts: Sequence[str]) -> list[bytes]:
    """Return the bytes of each text that are compressed: one for a letter of any alphabet, two for Chinese and Hangul.

    Kana have two as well. Letters of two alphabets may share a byte; a text seldom has both. The first byte of a letter
    outside ASCII is 128 or more, so that it never equals ASCII.
    """
    others = [text for text in texts if not text.isascii()]
    mapped = _mapped(others) if others else iter(())
    return [text.encode() if text.isascii() else next(mapped) for text in texts]


def _mapped(texts: Sequence[str]) -> Iterator[bytes]:
    """Yield the bytes of texts outside ASCII. Numpy takes a microsecond for each call, so they are mapped together."""
    points = np.frombuffer("".join(texts).encode("utf-32-le"), "<u4")
    low = points.astype(np.uint8)  # the lowest byte of each code point
    raw = low | ((points >= 128).view(np.uint8) << np.uint8(7))
    joined = raw.tobytes()
    ends = np.cumsum([len(text) for text in texts])
    starts = ends - [len(text) for text in texts]
    has_wide = np.maximum.reduceat(points, starts) >= FIRST_WIDE
    for start, end, two in zip(starts.tolist(), ends.tolist(), has_wide.tolist(), strict=True):
        if not two:
            yield joined[start:end]
            continue
        wide = start + np.flatnonzero(points[start:end] >= FIRST_WIDE)
        raw[wide] = 128 | (points[wide] >> 8) & 127
        yield np.insert(raw[start:end], wide - start + 1, low[wide]).tobytes()


def savings(raw: bytes, level: int) -> float:
    """Return the share of its size that a text saves by its repeats, 0 to 1."""
    # Fixed codes, because a table of codes takes about 60 bytes, which is much for a short text.
    deflate = zlib.compressobj(level, zlib.DEFLATED, -WINDOW_BITS, MEMORY_LEVEL, zlib.Z_FIXED)
    compressed = len(deflate.compress(raw)) + len(deflate.flush()) - FRAME_BYTES
    uncompressed = float(len(raw))
    if not raw.isascii():
        uncompressed += len(raw.translate(None, SHORT_CODED)) / 8
    return min(1.0, max(0.0, 1 - compressed / uncompressed))


def share_kept(raw: bytes, level: int) -> float:
    """Return the score of a text of these bytes."""
    if not raw:
        return 0.0
    expected = SAVED * len(raw) / (len(raw) + HALF)
    kept = 1 + PRIOR - (savings(raw, level) + PRIOR) * (SAVED + PRIOR) / (expected + PRIOR)
    return kept if kept > TAIL else TAIL * math.exp(kept / TAIL - 1)
