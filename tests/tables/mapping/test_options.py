"""The options that map columns: every spelling of a name, and one line for each mistake."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.errors import SchemaError
from curate.tables.mapping.column_mapping import plain_name, recorded
from curate.tables.mapping.options import mapping


def test_names_in_quotes_hold_anything():
    text, mapped = mapping('text="Raw Content",id="a,b=c",source=meta.domain,label="say ""hi""",emb.x=my vec')
    assert text == "Raw Content"
    assert mapped.written == {
        "id": '"a,b=c"',
        "source": "meta.domain",
        "label": '"say ""hi"""',
        "emb.x": '"my vec"',
    }
    assert plain_name(mapped.written["label"]) == 'say "hi"'


def test_a_shell_takes_quotes_away():
    assert mapping("text=Raw Content,id=DocID") == mapping('text="Raw Content",id=DocID')


def test_commas_in_brackets_and_texts_separate_nothing():
    _, mapped = mapping("source=concat(a, ', ', b),id=x=y")
    assert mapped.written == {"source": "concat(a, ', ', b)", "id": "x=y"}


def test_a_dictionary_is_read_like_text():
    assert mapping({"text": '"Raw Content"', "id": "DocID"}) == mapping('text="Raw Content",id=DocID')


@given(st.text(st.characters(codec="utf-8"), min_size=1))
def test_every_name_can_be_written_in_quotes(name):
    quoted = '"' + name.replace('"', '""') + '"'
    text, mapped = mapping(f"id={quoted},text={quoted}")
    assert (text, plain_name(mapped.written["id"])) == (name, name)
    assert recorded(mapped.record()) == mapped


def test_the_record_gives_the_mapping_back():
    for arguments in ((), ("id=a,source=lower(b.c)",), ("", "text", "a,b"), ("", "messages", "", "chat")):
        _, mapped = mapping(*arguments)
        assert recorded(mapped.record()) == mapped


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("txt=a",), "'txt' is not a column that jobs read"),
        (("emb.=a",), "'emb.' is not a column that jobs read"),
        (("id=a,id=b",), "names id twice: id=a and id=b"),
        (("id",), "'id' is not NAME=COLUMN"),
        (("id=",), "id= names no column"),
        (("id=lower(a",), "a bracket is not closed"),
        (('id="a',), "a quote is not closed"),
        (("text=a", "b"), "text=a and --text-column b differ"),
        (("text=a", "text", "b,c"), "--join b,c makes the text"),
        (("", "a", "b,c"), "--join b,c makes the text"),
        (("", "text", "b,c", "chat"), "both make the text"),
        (("", "text", "b,b"), "names 'b' twice"),
        (("", "text", "", "markdown"), "--render markdown is unknown"),
        (("text=a.b", "text", "", "chat"), "may be an expression"),
    ],
)
def test_mistakes_get_one_line(arguments, message):
    with pytest.raises(SchemaError) as error:
        mapping(*arguments)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_the_same_text_column_twice_is_no_mistake():
    assert mapping("text=a", "a") == mapping("", "a")
