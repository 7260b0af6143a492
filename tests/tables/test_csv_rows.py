"""CSV and TSV as spreadsheets and exports write them; a bad row is set aside alone."""

import csv
import io
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.errors import SchemaError
from curate.tables.batches import Reading, Shard, batches
from curate.tables.formats.bad_lines import BadLines

FIELD = st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\0"), min_size=1, max_size=8)


def read(path: Path, *needs: str, bad: BadLines | None = None, **keywords) -> pl.DataFrame:
    frames = list(batches(Shard(path, path.name), needs, reading=Reading(bad_lines=bad, **keywords)))
    return pl.concat(frames) if frames else pl.DataFrame()


def written(tmp_path: Path, body: bytes | str, name: str = "x.csv") -> Path:
    (tmp_path / name).write_bytes(body if isinstance(body, bytes) else body.encode())
    return tmp_path / name


@given(
    st.lists(st.tuples(FIELD, FIELD), min_size=1, max_size=8),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from([("x.csv", ","), ("x.csv", ";"), ("x.tsv", "\t")]),
    st.sampled_from([1, 3, 100]),
    st.booleans(),
)
def test_what_pythons_csv_writes_is_read_back(tmp_path_factory, rows, end, kind, size, mark):
    name, separator = kind
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, delimiter=separator, lineterminator=end)
    writer.writerows([("id", "text"), *rows])
    path = written(tmp_path_factory.mktemp("csv"), ("\ufeff" if mark else "") + stream.getvalue(), name)
    assert read(path, "text", batch_rows=size).select("id", "text").rows() == rows


def test_bad_rows_are_set_aside_alone(tmp_path):
    body = b'id,text,tokens\na,one,3\nb,two\nc,three,1,9\nd,"four"x,2\n\ne,f\xff,1\nf,six,many\ng,seven,2.0\n'
    bad = BadLines()
    frame = read(written(tmp_path, body), "text", bad=bad)
    assert frame.select("id", "text", "tokens").rows() == [("a", "one", 3), ("g", "seven", 2)]
    reasons = [bad.reasons[number] for number in sorted(bad.numbers)]
    assert [reason.split(": ", 1)[1][:20] for reason in reasons] == [
        "it has 2 fields, and",
        "it has 4 fields, and",
        "it is not CSV (',' e",
        "it is not UTF-8",
        "tokens is 'many'; it",
    ]
    assert reasons[0].startswith("row 2 (to line 3): ")
    assert read(written(tmp_path, body), "text", bad=BadLines([1, 2, 3, 4, 5])).equals(frame)
    with pytest.raises(SchemaError, match=r"row 2 \(to line 3\)"):
        read(written(tmp_path, body), "text")


def test_an_empty_field_is_a_null_and_ids_are_rows(tmp_path):
    frame = read(written(tmp_path, "id,text\n,a\n\n,b\n"), "text")
    assert frame.select("id", "text").rows() == [("x.csv:0", "a"), ("x.csv:1", "b")]


@pytest.mark.parametrize("body", ["", "id,text\n", "\n\n"])
def test_a_file_without_rows_has_no_rows(tmp_path, body):
    assert read(written(tmp_path, body), "text").height == 0


def test_a_name_that_stands_twice_and_one_that_is_missing(tmp_path):
    with pytest.raises(SchemaError, match="column 'text' stands twice in the header"):
        read(written(tmp_path, "text,text\na,b\n"), "text")
    with pytest.raises(SchemaError, match="has no column 'text'; it has id, body"):
        read(written(tmp_path, "id,body\na,b\n"), "text")


def test_vectors_and_probabilities_are_lists_in_text(tmp_path):
    frame = read(written(tmp_path, 'emb.e,probs.0\n"[1, 2.5]","[0.5, 0.5]"\n"[3, 4]","[1, 0]"\n'), "emb.e", "probs.0")
    assert frame["emb.e"].to_list() == [[1, 2.5], [3, 4]]
    assert frame["probs.0"].to_list() == [[0.5, 0.5], [1, 0]]


def test_a_quote_that_is_never_closed_is_one_error_in_bounded_memory(tmp_path):
    path = written(tmp_path, 'id,text\na,one\nb,"two\n' + "c,word\n" * 10_000)
    with pytest.raises(SchemaError, match=r"after line \d+ has over .* Close its quotes"):
        read(path, "text", bad=BadLines(), document_bytes=10_000)
    bad = BadLines()
    assert read(path, "text", bad=bad)["text"].to_list() == ["one"]
    assert bad.reasons[1].startswith("row 2 (to line 10003): it is not CSV (unexpected end of data)")


def test_a_field_of_megabytes_is_read(tmp_path):
    assert read(written(tmp_path, f'text\n"{"w" * 3_000_000}"\n'), "text")["text"].str.len_bytes().to_list() == [
        3_000_000
    ]


def test_a_wrong_value_is_named_with_its_own_line(tmp_path):
    bad = BadLines()
    path = written(tmp_path, 'text,tokens\n"two\nlines",1\nb,-1\nc,2\nd,3\n')
    read(path, "text", bad=bad)
    assert bad.reasons[1].startswith("row 2 (to line 4): tokens is -1")


def test_a_header_that_is_not_utf8_is_one_line(tmp_path):
    with pytest.raises(SchemaError, match="its header is not UTF-8. Convert the file"):
        read(written(tmp_path, b"text,caf\xe9\na,1\n"), "text")
