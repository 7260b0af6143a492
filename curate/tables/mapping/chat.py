"""Render conversations as texts, by one template, so that scorers can read them.

In: a column of conversations: lists of messages ``{role, content}`` (OpenAI) or ``{from, value}`` (ShareGPT), structs
with such a list in ``messages`` or ``conversations``, or JSON texts of these. Out: one text for each row.

The template: each message is ``role: content``, and an empty line stands between two messages::

    user: What is the capital of France?

    assistant: Paris.

ShareGPT's roles ``human`` and ``gpt`` are written ``user`` and ``assistant``, so that a conversation has one text in
both spellings. A content that is a list of parts gives the texts of its parts, each on a line of its own; parts without
text, such as images, are left out. A message without content is ``role:``.
"""

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.tables.columns.arrow_types import decoded, is_list, is_text, plain

LISTS = ("messages", "conversations", "conversation")  # fields of a struct that hold the list of messages
SPELLINGS = (("role", "content"), ("from", "value"))
ROLES = {"human": "user", "gpt": "assistant"}  # of ShareGPT, in OpenAI's words
BETWEEN = "\n\n"
WORDS = "a conversation: a list of messages with role and content, or from and value"


class UnrenderedRow(ValueError):
    """A row of a column holds no conversation: its number ``row``, and the ``reason``."""

    def __init__(self, row: int, reason: str) -> None:
        """Keep the number of the row and the reason."""
        super().__init__(reason)
        self.row = row
        self.reason = reason


def rendered(value: object) -> str | None:
    """Return the text of one conversation; None for null.

    Raises:
        ValueError: with the reason, if it is not a conversation, or a message has no role.
    """
    if value is None:
        return None
    if isinstance(value, str):
        try:
            value = msgspec.json.decode(value)
        except (msgspec.MsgspecError, RecursionError):
            raise ValueError(f"it is text that is not JSON; it must be {WORDS}") from None
        if value is None:
            return None
    if isinstance(value, dict):
        value = next((value[name] for name in LISTS if value.get(name) is not None), None)
    if not isinstance(value, list):
        raise ValueError(f"it must be {WORDS}")
    return BETWEEN.join(_message(item, number) for number, item in enumerate(value, start=1))


def _message(item: object, number: int) -> str:
    if not isinstance(item, dict):
        raise ValueError(f"message {number} is not an object with role and content")
    role = next((item[name] for name, _ in SPELLINGS if item.get(name) is not None), None)
    if not isinstance(role, str) or not role:
        raise ValueError(f"message {number} has no role")
    content = next((item[name] for _, name in SPELLINGS if item.get(name) is not None), None)
    text = _content(content, number)
    text = f"{ROLES.get(role, role)}: {text}" if text else f"{ROLES.get(role, role)}:"
    text.encode()  # raises for lone surrogates, which UTF-8 cannot hold
    return text


def _content(content: object, number: int) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    if not isinstance(content, list):
        raise ValueError(f"the content of message {number} is neither text nor a list of parts")
    texts = []
    for part in content:
        text = part.get("text") if isinstance(part, dict) else part
        if isinstance(text, str):
            texts.append(text)
        elif not isinstance(part, dict):
            raise ValueError(f"a part of message {number} is neither text nor an object")
    return "\n".join(texts)


def is_conversation(value: object) -> bool:
    """Return whether a value looks like a conversation, which `rendered` may read."""
    messages = next((value[name] for name in LISTS if name in value), None) if isinstance(value, dict) else value
    first = messages[0] if isinstance(messages, list) and messages else None
    return isinstance(first, dict) and any(name in first for name, _ in SPELLINGS)


def may_be_conversations(kind: pa.DataType) -> bool:
    """Return whether a column of this type can hold conversations, as structs or as JSON."""
    return holds_messages(kind) or is_text(kind) or bool(pa.types.is_null(plain(kind)))


def holds_messages(kind: pa.DataType) -> bool:
    """Return whether a column of this type has messages: lists of structs with a role, or a struct with such a list."""
    kind = plain(kind)
    if is_list(kind):
        inner = plain(kind.value_type)
        return pa.types.is_struct(inner) and any(inner.get_field_index(role) >= 0 for role, _ in SPELLINGS)
    return pa.types.is_struct(kind) and any(
        field.name in LISTS and (holds_messages(field.type) or is_text(field.type)) for field in kind
    )


def rendered_column(column: pa.Array) -> pa.Array:
    """Return the texts of (n,) conversations, as large strings.

    Raises:
        UnrenderedRow: if one cannot be rendered.
    """
    texts = _rendered_fast(decoded(column))
    if texts is not None:
        return texts
    values: list[str | None] = []
    for row, value in enumerate(column.to_pylist()):
        try:
            values.append(rendered(value))
        except ValueError as error:
            raise UnrenderedRow(row, str(error)) from None
    return pa.array(values, pa.large_string())


def _rendered_fast(column: pa.Array) -> pa.Array | None:
    """Return the texts of lists of messages whose contents are texts; None for other types, and for wrong values."""
    kind = column.type
    if pa.types.is_struct(kind):
        inside = [field.name for field in kind if field.name in LISTS]
        lists = decoded(pc.struct_field(column, inside[0])) if len(inside) == 1 else None
        # A struct whose list is null is wrong, and a null struct is not.
        return _rendered_fast(lists) if lists is not None and lists.null_count == column.null_count else None
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind)) or not pa.types.is_struct(plain(kind.value_type)):
        return None
    messages = decoded(column.flatten())
    names = [name for pair in SPELLINGS for name in pair if messages.type.get_field_index(name) >= 0]
    # Files that mix both spellings are rendered message by message.
    pair = next((pair for pair in SPELLINGS if sorted(pair) == sorted(names)), None)
    if pair is None or messages.null_count:
        return None
    roles, contents = (decoded(pc.struct_field(messages, name)) for name in pair)
    if not is_text(roles.type) or not is_text(contents.type) or roles.null_count:
        return None
    contents = contents.cast(pa.large_string()).fill_null("")
    encoded = roles.cast(pa.large_string()).dictionary_encode()
    names = encoded.dictionary.to_pylist()
    if "" in names:
        return None
    prefixes = [ROLES.get(name, name) for name in names]
    # The colon alone stands behind the role of a message without content.
    empty, full = (pa.array([f"{name}{end}" for name in prefixes], pa.large_string()) for end in (":", ": "))
    prefix = pc.if_else(pc.equal(contents, ""), empty.take(encoded.indices), full.take(encoded.indices))
    texts = pc.binary_join_element_wise(prefix, contents, pa.scalar("", pa.large_string()))
    lengths = pc.list_value_length(column)
    offsets = np.append(0, np.cumsum(lengths.fill_null(0).to_numpy(zero_copy_only=False)))
    # Arrow 26 joins small lists of large strings.
    lists = pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), texts)
    joined = pc.binary_join(lists, pa.scalar(BETWEEN, pa.large_string()))
    return joined if not column.null_count else pc.if_else(column.is_valid(), joined, pa.scalar(None, joined.type))
