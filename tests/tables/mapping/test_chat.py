"""Conversations as texts: every spelling gives the text of the template."""

import json

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.tables.mapping import chat

OPENAI = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": None},
]
SHAREGPT = [
    {"from": "system", "value": "Be brief."},
    {"from": "human", "value": "Hi"},
    {"from": "gpt", "value": ""},
]
TEXT = "system: Be brief.\n\nuser: Hi\n\nassistant:"
PARTS = [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image_url", "url": "u"}, {"text": "b"}]}]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (OPENAI, TEXT),
        (SHAREGPT, TEXT),
        ({"messages": OPENAI}, TEXT),
        ({"conversations": SHAREGPT, "id": 3}, TEXT),
        (json.dumps(OPENAI), TEXT),
        (json.dumps({"conversations": SHAREGPT}), TEXT),
        (PARTS, "user: a\nb"),
        ([], ""),
        (None, None),
        ("null", None),
    ],
)
def test_every_spelling_gives_the_text_of_the_template(value, text):
    assert chat.rendered(value) == text


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("hello", "text that is not JSON"),
        (3, "must be a conversation"),
        ({"text": "a"}, "must be a conversation"),
        (["a"], "message 1 is not an object"),
        ([{"role": "user", "content": "a"}, {"content": "b"}], "message 2 has no role"),
        ([{"role": 3, "content": "b"}], "message 1 has no role"),
        ([{"role": "user", "content": 3}], "content of message 1"),
        ([{"role": "user", "content": [3]}], "part of message 1"),
    ],
)
def test_what_is_no_conversation_is_refused(value, message):
    with pytest.raises(ValueError, match=message):
        chat.rendered(value)


MESSAGES = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["user", "gpt", "human", "tool"]), "content": st.none() | st.text(max_size=5)}
    ),
    max_size=4,
)
STRUCT = pa.struct([("role", pa.string()), ("content", pa.string())])
TYPES = [
    pa.list_(STRUCT),
    pa.large_list(STRUCT),
    pa.list_(pa.struct([("role", pa.dictionary(pa.int32(), pa.string())), ("content", pa.string_view())])),
    pa.list_(pa.struct([("content", pa.large_string()), ("x", pa.int64()), ("role", pa.large_string())])),
]


@given(st.lists(st.none() | MESSAGES, max_size=8), st.sampled_from(TYPES), st.integers(0, 8))
def test_columns_of_all_types_give_the_same_texts(conversations, kind, start):
    expected = list(map(chat.rendered, conversations))[start:]
    column = pa.array(conversations, kind)
    assert chat.rendered_column(column.slice(start)).to_pylist() == expected
    inside = pa.array([None if c is None else {"messages": c} for c in conversations], pa.struct([("messages", kind)]))
    assert chat.rendered_column(inside.slice(start)).to_pylist() == expected
    texts = pa.array([None if c is None else json.dumps(c) for c in conversations], pa.string())
    assert chat.rendered_column(texts.slice(start)).to_pylist() == expected


def test_both_spellings_in_one_column():
    kind = pa.list_(pa.struct([(name, pa.string()) for name in ("role", "content", "from", "value")]))
    assert chat.rendered_column(pa.array([OPENAI, SHAREGPT], kind)).to_pylist() == [TEXT, TEXT]


def test_a_row_that_cannot_be_rendered_is_named():
    column = pa.array([OPENAI, [{"role": None, "content": "x"}]])
    with pytest.raises(chat.UnrenderedRow, match="message 1 has no role") as error:
        chat.rendered_column(column)
    assert error.value.row == 1
