"""Compare how often things occur in two data sets, and name those whose shares differ more than chance allows.

In: counts of rows that have each thing. Out: z-values, and the bound beyond which a difference is not by chance.
"""

import numpy as np
import polars as pl
from scipy.special import ndtri

ERROR = 0.05  # probability that any of all things that are compared is named by chance
LEAST_ROWS = 5  # rows in which a word must occur; rarer ones, which are most words, cannot reach the bound
# A word is a run of letters, marks, digits and underscores. In scripts without spaces every character is one.
UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{Tibetan}"
WORD = rf"[{UNSPACED}]|[[\p{{L}}\p{{M}}\p{{N}}_]--[{UNSPACED}]]+"
LONGEST = 40  # characters of a word; longer runs are data, such as base64


def z_values(first: np.ndarray, second: np.ndarray, rows: tuple[int, int]) -> np.ndarray:
    """Return the difference of log odds in units of its standard error, (m,); above 0: more frequent in the second.

    ``first`` and ``second`` (m,) count the rows that have each thing, out of ``rows`` of each data set. Half a row is
    added to every count, so that a thing which one side lacks has finite odds (Haldane 1940, Anscombe 1956).
    """
    a, b = first + 0.5, second + 0.5
    without_a, without_b = rows[0] - first + 0.5, rows[1] - second + 0.5
    error = np.sqrt(1 / a + 1 / b + 1 / without_a + 1 / without_b)
    return np.asarray((np.log(b / without_b) - np.log(a / without_a)) / error)


def bound(compared: int) -> float:
    """Return the size of z that no thing out of ``compared`` exceeds by chance, with probability 1 - ERROR.

    This is Bonferroni's correction for many comparisons.
    """
    return float(-ndtri(ERROR / (2 * max(1, compared))))


def telling_words(texts: pl.Series, is_second: np.ndarray, *, most: int) -> pl.DataFrame:
    """Return the words whose share of rows differs, the clearest first, at most ``most`` for each side.

    Columns: word, first and second (shares of the rows that have the word), z.
    """
    rows = (int((~is_second).sum()), int(is_second.sum()))
    words = (
        pl.DataFrame({"text": texts.fill_null(""), "second": is_second})
        .select(pl.col("text").str.to_lowercase().str.extract_all(WORD).list.unique().alias("word"), "second")
        .explode("word", empty_as_null=False)
        .filter(pl.col("word").str.len_chars() <= LONGEST)
        .group_by("word")
        .agg(pl.len().alias("all"), pl.col("second").sum().alias("second"))
        .filter(pl.col("all") >= LEAST_ROWS)
        # Groups come in any order; words of equal z are then ordered by the word.
        .sort("word")
    )
    second = words["second"].cast(pl.Int64).to_numpy()
    first = words["all"].cast(pl.Int64).to_numpy() - second
    z = z_values(first, second, rows)
    table = words.select(
        "word", first=pl.Series(first / max(1, rows[0])), second=pl.Series(second / max(1, rows[1])), z=pl.Series(z)
    )
    beyond_chance = table.filter(pl.col("z").abs() > bound(words.height))
    of_first = beyond_chance.filter(pl.col("z") < 0).sort("z", "word").head(most)
    of_second = beyond_chance.filter(pl.col("z") > 0).sort(-pl.col("z"), "word").head(most)
    return pl.concat([of_first, of_second])
