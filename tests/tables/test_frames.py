"""Tables in memory: polars, pandas and Arrow tables become equal frames."""

import polars as pl
import pyarrow as pa
import pytest

from curate.errors import SchemaError
from curate.scoring.score import score
from curate.tables import batches, frames

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


def test_a_table_that_polars_cannot_hold_is_refused_in_one_line():
    pandas = pytest.importorskip("pandas")
    twice = pa.table([pa.array(["a"]), pa.array(["b"])], names=["text", "text"])
    mixed = pandas.DataFrame({"text": ["a", 3]})
    for table, name, why in ((twice, "pyarrow", "more than once"), (mixed, "pandas", "for column text")):
        match = f"^the table of {name} cannot be read .*{why}.* values of one type"
        with pytest.raises(SchemaError, match=match) as caught:
            score(table, "length")
        assert "\n" not in str(caught.value)


def test_the_hash_follows_values_names_and_types():
    hashes = [frames.content_hash(frame) for frame in (FRAME, FRAME.rename({"run": "id"}), FRAME.with_columns(x=1))]
    assert len(set(hashes)) == 3
    assert frames.content_hash(FRAME.clone()) == hashes[0]


@pytest.mark.parametrize(
    ("column", "name"),
    [
        (pl.Series("tokens", [1, 2]).cast(pl.Int128), "Int128"),
        (pl.Series("text", [object(), object()], dtype=pl.Object), "Object"),
    ],
)
def test_a_type_that_files_cannot_hold_is_one_line(tmp_path, column, name):
    table = pl.DataFrame([column])
    for read in (frames.frame, lambda frame: frames.frame(frame.lazy())):
        with pytest.raises(SchemaError, match=f"column {column.name} is {name}, which files cannot hold. "):
            read(table)
    with pytest.raises(SchemaError, match=f"is {name}, which files cannot hold"):
        score(table, "length", tmp_path / "out")


def test_tables_in_memory_have_the_types_of_files(tmp_path):
    """Categories, whole floats and decimals in memory give what the same table gives as a file."""
    table = pl.DataFrame(
        {
            "text": pl.Series(["one two", None, "three"]).cast(pl.Categorical),
            "id": [1.0, 2.0, 3.0],
            "tokens": pl.Series(["5", "6", "7"]).cast(pl.Decimal(10, 2)),
            "label": pl.Series(["a", "b", "a"]).cast(pl.Enum(["a", "b"])),
        }
    )
    table.write_parquet(tmp_path / "t.parquet")
    expected = pl.concat(batches.batches(batches.Shard(tmp_path / "t.parquet", "t"), ("text", "label")))
    rows = pl.concat(batches.from_table(table, ["text", "label"], tmp_path / "memory"))
    assert rows.equals(expected.select("text", "label"))
    assert rows.schema == {"text": pl.String, "label": pl.String}
    scored = score(table, "length", tmp_path / "out").scores().collect()
    assert scored.select("id", "tokens", "label", "score.length").rows() == [
        ("1", 5, "a", 7.0),
        ("2", 6, "b", 0.0),
        ("3", 7, "a", 5.0),
    ]


def test_a_struct_in_memory_is_refused_as_in_a_file(tmp_path):
    table = pl.DataFrame({"text": [{"body": "x"}]})
    with pytest.raises(SchemaError, match="text is struct.*not text. Name a column of text"):
        list(batches.from_table(table, ["text"], tmp_path / "memory"))
