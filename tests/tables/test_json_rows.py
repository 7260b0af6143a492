"""JSON as people write it: every line is read as Python's json reads it, and a damaged one is set aside alone."""

import gzip
import json
from pathlib import Path

import polars as pl
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from curate.errors import SchemaError
from curate.tables import batches as tables
from curate.tables.batches import Reading, Shard
from curate.tables.formats import json_rows
from curate.tables.formats.bad_lines import BadLines

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
ROWS = st.fixed_dictionaries(
    {"text": st.none() | st.text(max_size=12) | VALUES}, optional={"id": VALUES, "tokens": VALUES, "x": VALUES}
)
DAMAGE = st.sampled_from(["", "", "", "cut", "byte", "double", "blank", "bom", "spaces", "cr", "surrogate"])
ENDS = st.sampled_from([b"\n", b"\r\n"])


def damaged(line: bytes, damage: str, place: int) -> bytes:
    place %= len(line) + 1
    return {
        "": line,
        "cut": line[:place],
        "byte": line[:place] + b"\xff" + line[place:],
        "double": line + b" " + line,
        "blank": b"  ",
        "bom": b"\xef\xbb\xbf" + line,
        "spaces": b" \t" + line + b"\t",
        "cr": line[:place] + b"\r" + line[place:],
        "surrogate": line.replace(b'"text": "', b'"text": "\\ud800'),
    }[damage]


def right(line: bytes) -> tuple[object, ...] | None:
    """The id, text and tokens of a line, by Python's json; None for a bad line."""
    try:
        row = json.loads(line.decode().removeprefix("\ufeff"))
        name, text, tokens = row.get("id"), row.get("text"), row.get("tokens")
        if not (text is None or isinstance(text, str)) or isinstance(name, list | dict):
            return None
        if isinstance(name, float) and not abs(name) < float("inf"):
            return None
        name = name if name is None or isinstance(name, str) else json.dumps(name)
        (text or "").encode()
        (name or "").encode()
        if isinstance(tokens, bool) or not (tokens is None or isinstance(tokens, int | float)):
            return None
        if tokens is not None and not (float(tokens).is_integer() and 0 <= tokens <= 2**40):
            return None
    except (ValueError, AttributeError, OverflowError):
        return None
    return name, text, tokens


@settings(max_examples=300)
@given(
    st.lists(st.tuples(ROWS, DAMAGE, st.integers(0, 99), st.booleans()), max_size=8),
    ENDS,
    st.booleans(),
    st.sampled_from([1, 3, 100]),
)
@example([({"text": "a", "x": float("nan")}, "", 0, True), ({"text": "b"}, "cut", 3, True)], b"\n", True, 1)
def test_the_rows_are_those_that_python_reads(tmp_path_factory, rows, end, last_end, size):
    lines = [
        damaged(json.dumps(r, ensure_ascii=ascii_).encode("utf-8", "surrogatepass"), d, p) for r, d, p, ascii_ in rows
    ]
    path = tmp_path_factory.mktemp("lines") / "x.jsonl"
    body = end.join(lines) + (end if last_end else b"")
    # Without a line feed, carriage returns end lines.
    assume(b"\n" in body or b"\r" not in body)
    path.write_bytes(body)
    expected = [
        (row[0] if row[0] is not None else f"x.jsonl:{number}", row[1], row[2])
        for number, line in enumerate(lines)
        if line.strip() and (row := right(line)) is not None
    ]
    wrong = [number for number, line in enumerate(lines) if line.strip() and right(line) is None]
    bad = BadLines()
    reading = Reading(batch_rows=size, bad_lines=bad)
    try:
        frames = list(tables.batches(Shard(path, "x.jsonl"), (), reading=reading))
    except SchemaError as error:
        # A file of which no line can be read is set aside as a whole.
        assert wrong and not expected
        assert f"line {wrong[0] + 1}" in str(error)
        return
    assert sorted(bad.numbers) == wrong
    read = [row for frame in frames for row in frame.select("id", "tokens").iter_rows()]
    sizes = [tokens if tokens is not None else -(-len((text or "").encode()) // 4) for _, text, tokens in expected]
    assert read == list(zip((name for name, _, _ in expected), sizes, strict=True))


def read(path: Path, *needs: str, bad: BadLines | None = None, **keywords) -> pl.DataFrame:
    frames = list(tables.batches(Shard(path, path.name), needs, reading=Reading(bad_lines=bad, **keywords)))
    return pl.concat(frames) if frames else pl.DataFrame()


def written(tmp_path: Path, body: bytes | str, name: str = "x.jsonl") -> Path:
    path = tmp_path / name
    path.write_bytes(body if isinstance(body, bytes) else body.encode())
    return path


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("5", "5"),
        ("123456789012345678901234567890", "123456789012345678901234567890"),
        ("5.0", "5.0"),
        ("true", "true"),
        ('"5"', "5"),
        ("null", "x.jsonl:0"),
    ],
)
def test_an_id_is_text_as_it_was_written(tmp_path, value, name):
    path = written(tmp_path, f'{{"id": {value}, "text": "a"}}\n')
    assert read(path, "text")["id"].to_list() == [name]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"text": "b"', "it is not JSON"),
        ("{'text': 'b'}", "it is not JSON"),
        ("[1, 2]", "it is a list of 2, not an object"),
        ("7", "it is 7, not an object"),
        ('{"text": 5}', "text is 5; it must be text or null"),
        ('{"text": {"a": 1}}', "text is an object; it must be text or null"),
        ('{"text": "\\ud800"}', "text has a lone surrogate"),
        ('{"text": "b", "tokens": -5}', "tokens is -5; it must be a whole number from 0 to"),
        ('{"text": "b", "tokens": 1.5}', "tokens is 1.5"),
        ('{"text": "b", "tokens": NaN}', "tokens is nan"),
        ('{"text": "b", "tokens": 99999999999999999999}', "tokens is 99999999999999999999"),
        ('{"text": "b", "tokens": "4"}', "tokens is '4'"),
        ('{"text": "b", "id": [1]}', "id is a list of 1; it must be text or a number"),
        ('{"text": "b", "id": NaN}', "id is nan"),
        ('{"x": ' + "[" * 100_000 + "]" * 100_000 + "}", "it is nested too deeply"),
        ('{"x": ' + '{"a":' * 100_000, "it is nested too deeply"),
        ('{"text": "b"} {"text": "c"}', "it is not JSON"),
    ],
)
def test_a_bad_line_is_set_aside_alone_with_its_number_and_the_reason(tmp_path, line, reason):
    path = written(tmp_path, f'{{"text": "a"}}\n\n{line}\n{{"text": "z"}}')
    bad = BadLines()
    frame = read(path, "text", bad=bad)
    assert frame.select("id", "text").rows() == [("x.jsonl:0", "a"), ("x.jsonl:3", "z")]
    assert bad.numbers.tolist() == [2]
    assert bad.reasons[2].startswith(f"line 3: {reason}")
    # Where no line may be lost, the first bad one is an error.
    with pytest.raises(SchemaError, match=r"x\.jsonl, line 3: "):
        read(path, "text")


@pytest.mark.parametrize(
    ("other", "line"),
    [("nan", "NaN"), ("infinity", "-Infinity"), ("large", "1" + "0" * 40), ("huge", "1" * 6000), ("far", "1e999")],
)
def test_what_stands_in_other_columns_does_not_matter(tmp_path, other, line):
    path = written(tmp_path, f'{{"text": "a", "x": "word"}}\n{{"text": "b", "x": {line}}}\n{{"text": "c", "x": [1]}}\n')
    assert read(path, "text")["text"].to_list() == ["a", "b", "c"]


def test_bytes_that_are_not_utf8_make_a_line_bad_wherever_they_stand(tmp_path):
    path = written(tmp_path, b'{"text": "a"}\n{"text": "b", "x": "\xff"}\n')
    bad = BadLines()
    assert read(path, "text", bad=bad)["text"].to_list() == ["a"]
    assert bad.reasons[1] == "line 2: it is not UTF-8"


def test_the_last_of_equal_keys_counts_as_in_python(tmp_path):
    path = written(tmp_path, '{"text": 1, "text": "a"}\n{"text": "b", "t\\u0065xt": "c"}\n')
    assert read(path, "text")["text"].to_list() == ["a", "c"]


@pytest.mark.parametrize(
    "body",
    [
        b'\xef\xbb\xbf{"text": "a"}\n{"text": "b"}\n',
        b'{"text": "a"}\r\n{"text": "b"}\r\n',
        b'{"text": "a"}\r{"text": "b"}\r',
        b'{"text": "a"}\n{"text": "b"}',
        b'{"text": "a"}\n\xef\xbb\xbf{"text": "b"}\n',
    ],
)
def test_byte_order_marks_and_all_line_ends_are_read(tmp_path, body):
    assert read(written(tmp_path, body), "text")["text"].to_list() == ["a", "b"]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_a_file_in_another_encoding_is_one_line(tmp_path, encoding):
    path = written(tmp_path, '{"text": "a"}\n'.encode(encoding))
    with pytest.raises(SchemaError, match="UTF-(16|32).* Convert the file to UTF-8"):
        read(path, "text", bad=BadLines())


@pytest.mark.parametrize("body", [b"", b"\n \n\r\n"])
@pytest.mark.parametrize("name", ["x.jsonl", "x.json", "x.ndjson"])
def test_a_file_without_lines_has_no_rows(tmp_path, body, name):
    assert read(written(tmp_path, body, name), "text").height == 0


def test_a_column_that_no_line_has_is_named(tmp_path):
    path = written(tmp_path, "{}\n{}\n")
    with pytest.raises(SchemaError, match="has no column 'text'; it has no columns"):
        read(path, "text")


def test_a_column_that_first_appears_late_is_found(tmp_path):
    lines = ['{"id": "a"}'] * 3000 + ['{"id": "z", "text": "late", "label": 3}']
    path = written(tmp_path, "\n".join(lines))
    frame = read(path, "text", "label")
    assert frame.height == 3001
    assert frame.row(-1, named=True)["text"] == "late"
    assert frame["label"].to_list()[-2:] == [None, 3]


def test_a_label_has_one_type_in_a_file(tmp_path):
    path = written(
        tmp_path, "".join(f'{{"text": "a", "label": {label}}}\n' for label in ("1", "2", '"cat"', "3.0", "1"))
    )
    bad = BadLines()
    assert read(path, "text", "label", bad=bad)["label"].to_list() == [1, 2, 3, 1]
    assert bad.reasons[2] == "line 3: label is 'cat'; it must be a number, as in the first lines"


def test_truths_are_labels(tmp_path):
    path = written(tmp_path, '{"text": "a", "label": true}\n{"text": "b", "label": false}\n')
    assert read(path, "text", "label")["label"].to_list() == [True, False]


def test_vectors_need_one_length_and_finite_numbers(tmp_path):
    vectors = ["[1, 2.5]", "[1]", "[1, NaN]", "null", "[1, null]", "[1e39, 0]", '["a", 1]', "[3, 4]"]
    path = written(tmp_path, "".join(f'{{"emb.e": {vector}}}\n' for vector in vectors))
    bad = BadLines()
    assert read(path, "emb.e", bad=bad)["emb.e"].to_list() == [[1, 2.5], [3, 4]]
    assert bad.numbers.tolist() == [1, 2, 3, 4, 5, 6]
    assert "it must be a list of 2 finite numbers" in bad.reasons[1]


def test_a_line_that_is_too_long_is_set_aside_and_the_option_is_named(tmp_path):
    path = written(tmp_path, "".join(f'{{"text": "{"w" * size}"}}\n' for size in (10, 1500, 5000, 20)))
    bad = BadLines()
    lengths = read(path, "text", bad=bad, document_bytes=1000)["text"].str.len_bytes().to_list()
    assert lengths == [10, 20]
    assert all("--max-document-mb" in reason for reason in bad.reasons.values())
    assert read(path, "text", document_bytes=5000)["text"].str.len_bytes().to_list() == [10, 1500, 5000, 20]


def test_a_packed_file_that_ends_early_is_an_error_and_members_are_joined(tmp_path):
    body = b"".join(b'{"text": "%d"}\n' % i for i in range(50_000))
    packed = gzip.compress(body)
    with pytest.raises(SchemaError, match="cannot be read: Truncated compressed stream"):
        read(written(tmp_path, packed[: len(packed) // 2], "x.jsonl.gz"), "text", bad=BadLines())
    assert read(written(tmp_path, packed + packed, "y.json.gz"), "text").height == 100_000


def test_a_file_of_bad_lines_is_one_error_in_bounded_memory(tmp_path):
    path = written(tmp_path, b"no JSON\n" * 100_000)
    bad = BadLines()
    with pytest.raises(SchemaError, match="none of its first 1000 lines can be read; line 1: it is not JSON"):
        read(path, "text", bad=bad)
    assert len(bad) <= 5000


def test_reasons_are_bounded_and_numbers_are_not(tmp_path):
    path = written(tmp_path, '{"text": "a"}\n' + "no JSON\n" * 20_000)
    bad = BadLines()
    assert read(path, "text", bad=bad).height == 1
    assert (len(bad), len(bad.reasons)) == (20_000, 1000)


ARRAYS = [
    '[{"text": "a"}, {"text": "b"}]',
    ' [\n  {"text": "a"},\n  {"text": "b"}\n]\n',
    '\ufeff[{"text": "a"},{"text": "b"}]',
]


@pytest.mark.parametrize("body", ARRAYS)
def test_an_array_is_rows(tmp_path, body):
    frame = read(written(tmp_path, body, "x.json"), "text")
    assert frame.select("id", "text").rows() == [("x.json:0", "a"), ("x.json:1", "b")]


@given(st.lists(ROWS, max_size=6), st.sampled_from([None, 1]), st.integers(1, 40))
def test_the_elements_of_an_array_are_those_that_python_reads(tmp_path_factory, rows, indent, chunk):
    body = json.dumps(rows, indent=indent)
    shard = Shard(Path("x.json"), "x.json")
    from curate.tables.formats import json_lines

    raw = body.encode()
    chunks = iter([raw[start : start + chunk] for start in range(0, len(raw), chunk)])
    pieces = list(json_lines._elements(shard, chunks, 1 << 20))
    assert [number for number, _ in pieces] == list(range(len(rows)))
    assert [repr(json.loads(element)) for _, element in pieces] == [repr(row) for row in json.loads(body)]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ('[{"text": "a"}', "the end of the file, not a comma or a bracket"),
        ('[{"text": "a"} {"text": "b"}]', "after element 1 of the array comes '{'"),
        ('[{"text": "a"}, {"text": ]', "element 2 of the array: it is not JSON"),
        ('[{"text": "a"}] [1]', "there is more after the end of the array"),
        ('[{"text": "a"},]', "element 2 of the array: it is not JSON"),
    ],
)
def test_a_damaged_array_is_one_error(tmp_path, body, reason):
    with pytest.raises(SchemaError, match=reason.replace("[", r"\[")):
        read(written(tmp_path, body, "x.json"), "text", bad=BadLines())


def test_an_element_that_is_no_object_is_set_aside(tmp_path):
    bad = BadLines()
    frame = read(written(tmp_path, b'[{"text": "a"}, 7, {"text": "\xff"}, {"text": "b"}]', "x.json"), "text", bad=bad)
    assert frame["text"].to_list() == ["a", "b"]
    assert bad.reasons[1] == "element 2 of the array: it is 7, not an object"
    assert bad.reasons[2] == "element 3 of the array: it is not UTF-8"


def test_recorded_lines_are_skipped_and_others_are_errors(tmp_path):
    path = written(tmp_path, '{"text": "a"}\n{"text": "good"}\nno JSON\n{"text": "b"}\n')
    assert read(path, "text", bad=BadLines([1, 2]))["text"].to_list() == ["a", "b"]
    with pytest.raises(SchemaError, match="line 3: .* score the data again"):
        read(path, "text", bad=BadLines([1]))


def test_a_name_with_quotes_is_read(tmp_path):
    path = written(tmp_path, '{"a \\"b\\"": "x"}\n')
    assert read(path, "text", text_column='a "b"')["text"].to_list() == ["x"]


def test_the_head_names_types(tmp_path):
    path = written(tmp_path, '{"text": "a", "label": 1, "emb.e": [1, 2], "x": {"a": 1}}\n')
    schema, groups = json_rows.head(Shard(path, path.name))
    assert groups is None
    assert schema.names == ["text", "label", "emb.e", "x"]
    assert str(schema.field("emb.e").type) == "fixed_size_list<item: float>[2]"


def test_a_name_that_holds_a_lone_surrogate_is_no_column(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text('{"text": "a", "\\ud800": 1}\n{"text": "b", "x": "\\ud800"}\n')
    frames = list(tables.batches(Shard(path, path.name), ["text"]))
    assert pl.concat(frames)["text"].to_list() == ["a", "b"]


@pytest.mark.parametrize("body", [b"\xef\xbb\xbf", b"\xef\xbb\xbf\r\n\n"])
def test_a_file_with_a_byte_order_mark_alone_is_empty(tmp_path, body):
    path = tmp_path / "x.jsonl"
    path.write_bytes(body)
    assert sum(frame.height for frame in tables.batches(Shard(path, path.name), ["text"])) == 0
