"""Length of a text in characters, words or tokens. A tokenizer also writes the true number of tokens."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import polars as pl

from curate.errors import SchemaError
from curate.models import token_counter

TOKENS = "tokens"


@dataclass(frozen=True)
class Length:
    """The length of a text; high is long.

    ``score.length`` (float64) is a number of characters, words or tokens. Keep long texts; Gopher keeps 50 to 100,000
    words. An empty or null text has length 0.

    With ``tokenizer`` the column ``tokens`` of the score file is the true number of tokens, whether or not the input
    has such a column, and later jobs count with it. Special tokens are not added. A text of over 2^20 characters is
    encoded in pieces, which are cut before a space between letters.

    Options:
        unit: character, for Unicode characters, word, for runs of visible characters, or token, for those of the
            tokenizer (default character).
        tokenizer: a ``tokenizer.json``, a folder that has one, a file ``NAME.tiktoken``, or the name of an encoding
            that the cache of tiktoken holds, such as cl100k_base (default: none). Needs the extra ``tokenizer``.

    Source: the range is Gopher's, Rae et al. 2021, arXiv 2112.11446, Table A1.
    """

    unit: Literal["character", "word", "token"] = "character"
    tokenizer: str = ""
    needs = ("text",)
    meanings = {"score.length": "quality"}

    def __post_init__(self) -> None:
        """Refuse an unknown unit, and a tokenizer that cannot be loaded."""
        if self.unit not in ("character", "word", "token"):
            raise SchemaError(f"length: unit={self.unit} must be character, word or token")
        if self.unit == "token" and not self.tokenizer:
            raise SchemaError("length: unit=token needs a tokenizer: length:unit=token,tokenizer=FILE")
        if self.tokenizer:
            # Before any row is read. Workers load it again.
            token_counter.load(str(self.tokenizer))

    @property
    def schema(self) -> Mapping[str, pl.DataType]:
        """Columns that it adds, or replaces."""
        return {"score.length": pl.Float64()} | ({TOKENS: pl.Int64()} if self.tokenizer else {})

    def __call__(self, batch: pl.DataFrame) -> pl.DataFrame:
        """Score a batch."""
        if not self.tokenizer:
            return batch.select(self._length())
        # `_length` reads the new column where it counts tokens.
        counts = token_counter.load(str(self.tokenizer)).count(batch["text"].to_list())
        counted = batch.select("text", pl.Series(TOKENS, counts))
        return counted.select(self._length(), TOKENS)

    def _length(self) -> pl.Expr:
        text = pl.col("text").fill_null("")
        units = {"character": text.str.len_chars(), "word": text.str.count_matches(r"\S+"), "token": pl.col(TOKENS)}
        return units[self.unit].cast(pl.Float64).alias("score.length")
