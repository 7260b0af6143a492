"""Tables in memory: polars, pandas and Arrow tables become equal frames."""

import polars as pl
import pytest

from curate.errors import SchemaError
from curate.tables import frames

FRAME = pl.DataFrame({"run": ["a", "b"], "tokens": [1.0, 2.0]})


def test_every_kind_of_table_becomes_the_same_frame():
    for table in (FRAME, FRAME.lazy(), FRAME.to_arrow(), FRAME.to_arrow().to_batches()[0]):
        assert frames.in_memory(table)
        assert frames.frame(table).equals(FRAME)


def test_a_pandas_table_becomes_the_same_frame():
    pandas = pytest.importorskip("pandas")
    assert frames.frame(pandas.DataFrame(FRAME.to_dict(as_series=False))).equals(FRAME)


def test_what_is_no_table_is_refused_by_its_type():
    assert not frames.in_memory("runs.csv")
    with pytest.raises(SchemaError, match="list is not a table"):
        frames.frame([1, 2])


def test_the_hash_follows_values_names_and_types():
    hashes = [frames.content_hash(frame) for frame in (FRAME, FRAME.rename({"run": "id"}), FRAME.with_columns(x=1))]
    assert len(set(hashes)) == 3
    assert frames.content_hash(FRAME.clone()) == hashes[0]
