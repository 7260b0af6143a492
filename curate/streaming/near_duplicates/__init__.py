"""Pairs of texts that are equal or alike, from the parts of a corpus.

In: a corpus of texts. Out: for each part, the links of its rows to other rows, with their exact similarity.
May use: `tables` and the other files of `streaming`.

The hash of its id and the number of its part identify a row. Rows have an order: those of an older generation come
first, and within a generation those with a smaller hash. Of two linked rows, the one that comes first represents the
other. So the result does not depend on how the rows are cut into parts.
"""

from curate.streaming.near_duplicates.merges import find_duplicates
from curate.streaming.near_duplicates.signatures import Bands
from curate.streaming.near_duplicates.stored_links import (
    LinkTable,
    generations_of_rows,
    has_links,
    links_of_part,
    settings_of_links,
    stored_links,
)

__all__ = [
    "Bands", "LinkTable", "find_duplicates", "generations_of_rows", "has_links", "links_of_part",
    "settings_of_links", "stored_links",
]  # fmt: skip
