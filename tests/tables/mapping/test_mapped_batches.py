"""Files with other names of columns give the same batches as files with ours, in every format."""

import json

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.errors import SchemaError
from curate.tables import batches as tables
from curate.tables.mapping.options import mapping
from curate.tables.reading import Reading
from curate.tables.scored_inputs import scored_rows
from curate.tables.scored_inputs.row_hash import RowHasher
from curate.tables.shards import Shard

PLAIN = ("parquet", "jsonl", "csv", "arrow")
NESTED = ("parquet", "jsonl", "arrow")
ROWS = 20
OURS = pl.DataFrame(
    {
        "text": [f"text {i}, ü" * 3 for i in range(ROWS)],
        "id": [f"d{i}" for i in range(ROWS)],
        "source": [f"s{i % 3}" for i in range(ROWS)],
        "tokens": [i + 1 for i in range(ROWS)],
        "label": [f"c{i % 2}" for i in range(ROWS)],
    }
)


def reading(columns="", text_column="text", join="", render="", **keywords) -> Reading:
    text, mapped = mapping(columns, text_column, join, render)
    return Reading(text, mapping=mapped, **keywords)


def store(folder, kind: str, frame: pl.DataFrame) -> Shard:
    path = folder / f"x.{kind}"
    if kind == "parquet":
        pq.write_table(frame.to_arrow(), path, row_group_size=7)
    elif kind == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in frame.to_dicts()))
    elif kind == "csv":
        frame.write_csv(path)
    else:
        frame.write_ipc(path)
    return Shard(path, path.name)


def read(shard: Shard, how: Reading, needs=("text", "label"), **keywords) -> pl.DataFrame:
    return pl.concat(list(tables.batches(shard, needs, reading=how, **keywords)))


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


@pytest.mark.parametrize("kind", PLAIN)
@pytest.mark.parametrize("start", [0, 9])
def test_other_names_give_the_same_batches(tmp_path, kind, start):
    names = {"text": "Raw Content", "id": "a,b", "source": "x=y", "tokens": "n.tokens", "label": 'say "hi"'}
    columns = ",".join(f"{ours}={quoted(theirs)}" for ours, theirs in names.items())
    shard = store(tmp_path, kind, OURS.rename(names))
    assert read(shard, reading(columns, batch_rows=6), start=start).equals(
        OURS.select("id", "source", "tokens", "text", "label")[start:]
    )


@pytest.mark.parametrize("kind", PLAIN)
def test_a_mapped_column_hides_the_one_of_its_name(tmp_path, kind):
    theirs = OURS.rename({"text": "body", "tokens": "n"}).with_columns(text=pl.lit("hidden"), tokens=pl.lit("many"))
    shard = store(tmp_path, kind, theirs)
    result = read(shard, reading("text=body,tokens=n"))
    assert result.equals(OURS.select(result.columns))
    # The hidden columns are written back as they are.
    copied = pa.Table.from_batches(list(tables.record_batches(shard, reading=reading("text=body,tokens=n"))))
    assert copied.column_names == theirs.columns
    assert set(copied.column("text").to_pylist()) == {"hidden"}
    assert set(copied.column("tokens").to_pylist()) == {"many"}


@pytest.mark.parametrize("kind", PLAIN)
def test_two_columns_can_change_places(tmp_path, kind):
    shard = store(tmp_path, kind, OURS.rename({"text": "label", "label": "text"}))
    result = read(shard, reading("text=label,label=text"))
    assert result.equals(OURS.select(result.columns))


@pytest.mark.parametrize("kind", PLAIN)
def test_one_column_can_serve_twice(tmp_path, kind):
    result = read(store(tmp_path, kind, OURS.drop("source")), reading("source=id"))
    assert result["source"].equals(OURS["id"].alias("source"))
    assert result["id"].equals(OURS["id"])


NAMES = st.lists(
    st.text(st.characters(codec="utf-8", exclude_characters="\0\r\n"), min_size=1, max_size=6), min_size=5, max_size=5,
    unique=True,
)  # fmt: skip


@given(NAMES, st.sampled_from(PLAIN))
def test_any_name_can_be_mapped(tmp_path_factory, names, kind):
    theirs = dict(zip(OURS.columns, names, strict=True))
    columns = ",".join(f"{ours}={quoted(name)}" for ours, name in theirs.items())
    shard = store(tmp_path_factory.mktemp("x"), kind, OURS.rename(theirs))
    result = read(shard, reading(columns))
    assert result.equals(OURS.select(result.columns))


META = [{"domain": f"D{i % 3}.ORG", "n": i, "in": {"k": f"k{i}"}} for i in range(ROWS)]


@pytest.mark.parametrize("kind", NESTED)
@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("meta.domain", lambda i: f"D{i % 3}.ORG"),
        ("meta['domain']", lambda i: f"D{i % 3}.ORG"),
        ("lower(meta.domain)", lambda i: f"d{i % 3}.org"),
        ("meta.n", str),
        ("concat(meta['in'].k, '/', id)", lambda i: f"k{i}/d{i}"),
        ("'web'", lambda i: "web"),
    ],
)
def test_a_source_is_computed(tmp_path, kind, written, expected):
    shard = store(tmp_path, kind, OURS.drop("source").with_columns(pl.Series("meta", META)))
    result = read(shard, reading(f"source={written}", batch_rows=6))
    assert result["source"].to_list() == [expected(i) for i in range(ROWS)]


def test_fields_of_json_may_first_appear_late(tmp_path):
    path = tmp_path / "x.jsonl"
    rows = [{"text": "a", "meta": {"other": [1, "x"]}}] * 300 + [{"text": "b"}, {"text": "c", "meta": None}]
    rows += [{"text": "d", "meta": {"domain": "late", "n": 1.5}}, {"text": "e", "meta": {"domain": 7}}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = read(Shard(path, "x.jsonl"), reading("source=meta.domain"), ("text",))
    assert result["source"].to_list()[-4:] == [tmp_path.name, tmp_path.name, "late", "7"]


@pytest.mark.parametrize("kind", NESTED)
def test_a_column_with_a_dot_comes_before_a_field(tmp_path, kind):
    frame = OURS.drop("source").with_columns(pl.Series("meta", META), pl.lit("column").alias("meta.domain"))
    assert set(read(store(tmp_path, kind, frame), reading("source=meta.domain"))["source"]) == {"column"}


@pytest.mark.parametrize("kind", PLAIN)
def test_texts_are_joined_and_nulls_skipped(tmp_path, kind):
    frame = pl.DataFrame({"prompt": ["p0", "p1", None, None], "answer": ["a0", None, "a2", None], "id": list("abcd")})
    result = read(store(tmp_path, kind, frame), reading(join="prompt,answer"), ("text",))
    assert result["text"].to_list() == ["p0\n\na0", "p1", "a2", None]
    assert result["tokens"].to_list() == [2, 1, 1, 0]


CHATS = [[{"role": "user", "content": f"q{i}"}, {"role": "assistant", "content": f"a{i}"}] for i in range(ROWS)]


@pytest.mark.parametrize("kind", NESTED)
@pytest.mark.parametrize("column", ["text", "messages"])
def test_conversations_are_rendered_and_written_back_untouched(tmp_path, kind, column):
    frame = pl.DataFrame({"id": OURS["id"], column: CHATS})
    how = reading("", column, "", "chat", batch_rows=6)
    shard = store(tmp_path, kind, frame)
    assert read(shard, how, ("text",))["text"].to_list() == [f"user: q{i}\n\nassistant: a{i}" for i in range(ROWS)]
    copied = pa.Table.from_batches(list(tables.record_batches(shard, reading=how)))
    assert copied.column(column).to_pylist() == CHATS


def test_conversations_in_csv_are_json(tmp_path):
    frame = pl.DataFrame({"id": OURS["id"], "chat": list(map(json.dumps, CHATS))})
    how = reading("", "chat", "", "chat")
    assert read(store(tmp_path, "csv", frame), how, ("text",))["text"][3] == "user: q3\n\nassistant: a3"


@pytest.mark.parametrize("kind", NESTED)
def test_conversations_without_render_get_advice(tmp_path, kind):
    shard = store(tmp_path, kind, pl.DataFrame({"text": CHATS}))
    with pytest.raises(SchemaError, match="--render chat"):
        read(shard, reading(), ("text",))


@pytest.mark.parametrize("kind", PLAIN)
@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ("text=txet", "no column 'txet'; it has .*Did you mean text?"),
        ("source=mta.domain", "names 'mta.domain', which is no column"),
        ("source=lower(labl)", "names 'labl', which is no column; did you mean 'label'"),
        ("source=sum(tokens)", "depends on other rows"),
        ("source=a b", "no SQL expression"),
    ],
)
def test_mistakes_name_the_file_and_the_nearest_column(tmp_path, kind, columns, message):
    shard = store(tmp_path, kind, OURS)
    with pytest.raises(SchemaError, match=message) as error:
        read(shard, reading(columns))
    assert str(shard.path) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_field_that_structs_lack(tmp_path):
    shard = store(tmp_path, "parquet", OURS.with_columns(pl.Series("meta", META)))
    with pytest.raises(SchemaError, match=r"no field 'domian'.*Did you mean domain\?"):
        read(shard, reading("source=meta.domian"))


@pytest.mark.parametrize("kind", PLAIN)
def test_a_column_of_a_wrong_type_is_called_as_in_the_file(tmp_path, kind):
    shard = store(tmp_path, kind, OURS.rename({"tokens": "n"}).with_columns(n=pl.lit("x")))
    with pytest.raises(SchemaError, match="n is|; line 1: n is|n is 'x'"):
        read(shard, reading("tokens=n"))


@pytest.mark.parametrize("kind", PLAIN)
@pytest.mark.parametrize("columns", ["text=body,id=DocID", "text=body,source=lower(DocID)", "id=DocID,source=DocID"])
def test_hashes_cover_the_mapped_columns(tmp_path, kind, columns):
    names = {"text": "body", "id": "DocID"} if "body" in columns else {"id": "DocID"}
    theirs, how = OURS.drop("source", "label").rename(names), reading(columns)
    shard = store(tmp_path, kind, theirs)
    hasher = RowHasher()
    list(tables.batches(shard, ("text",), reading=how, hasher=hasher))
    blocks = hasher.blocks()
    assert set(hasher.columns) == set(tables.columns_to_read(shard, ("text",), how))
    assert scored_rows.row_blocks(shard, hasher.columns, how) == blocks
    for column in names.values():
        changed = theirs.with_columns(
            pl.when(pl.int_range(pl.len()) == 11).then(pl.lit("new")).otherwise(column).alias(column)
        )
        assert scored_rows.row_blocks(store(tmp_path, kind, changed), hasher.columns, how) != blocks


def test_vectors_and_probabilities_under_other_names(tmp_path):
    vectors = np.arange(ROWS * 4, dtype=np.float32).reshape(ROWS, 4)
    frame = OURS.with_columns(pl.Series("vec", vectors, pl.Array(pl.Float32, 4)), pl.Series("p", vectors.tolist()))
    for kind in NESTED:
        result = read(store(tmp_path, kind, frame), reading("emb.x=vec,probs.0=p"), ("emb.x", "probs.0"))
        assert np.array_equal(result["emb.x"].to_numpy(), vectors)
        assert result["probs.0"].to_list()[3] == vectors[3].tolist()
