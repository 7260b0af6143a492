"""Guess which columns hold texts, ids, sources, tokens and classes: by their names, and by what is in them.

In: a sample of rows. Out: a column for each role, with the reason in words. A guess by name must be confirmed by the
values: ids are distinct, sources repeat, tokens are whole numbers in proportion to the text.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import msgspec
import polars as pl

from curate.errors import SchemaError, amount, first_few
from curate.open_sets import nearest
from curate.tables.mapping import chat

# Names that data sets of the Hugging Face hub use, in the order of preference, without case and marks.
TEXT = ("text", "content", "rawcontent", "body", "document", "article", "passage", "code", "markdown", "story")
ID = ("id", "docid", "uuid", "documentid", "rowid", "sampleid", "key", "hash", "url")
SOURCE = ("source", "datasource", "sourcename", "subset", "dataset", "domain", "corpus", "language", "lang")
TOKENS = ("tokens", "ntokens", "numtokens", "tokencount", "lengthtokens", "tokenslength")
LABEL = ("label", "labels", "y", "target", "class", "category")
CHAT = ("messages", "conversations", "conversation", "chat", "dialogue", "turns")
JOINED: tuple[tuple[str, ...], ...] = (
    ("instruction", "input", "output"),
    ("instruction", "output"),
    ("prompt", "response"),
    ("prompt", "answer"),
    ("prompt", "completion"),
    ("question", "answer"),
    ("query", "response"),
)
ROLES = ("text", "id", "source", "tokens", "label")
MOST_SOURCES = 1000  # more distinct values are rather ids or addresses
LOOK_ROWS = 20  # of a column of texts that are looked at for conversations in JSON
LEAST_ROWS = 10  # fewer do not tell whether the values of a column repeat
BYTES_PER_TOKEN = (1.0, 20.0)  # means outside are no counts of tokens: 1 is bytes, 20 is over twice a long word


@dataclass(frozen=True)
class ColumnRole:
    """A column for a role, and why it was chosen.

    ``chat`` says that a column of texts holds conversations. ``joined`` are the columns of a text that has several.
    ``computed`` says that the column is an expression in SQL, such as a field of a struct, ``meta.domain``.
    """

    column: str
    why: str
    chat: bool = False
    joined: tuple[str, ...] = ()
    computed: bool = False

    @property
    def spelled(self) -> str:
        """Return the column as an expression in SQL, where a name with spaces or marks stands in double quotes."""
        if self.computed or re.fullmatch(r"[A-Za-z_]\w*", self.column):
            return self.column
        return '"' + self.column.replace('"', '""') + '"'

    @property
    def name(self) -> str:
        """Return the column, or the joined columns, as people read them."""
        return " + ".join(self.joined) if self.joined else self.column


def guess(frame: pl.DataFrame, named_columns: Mapping[str, str]) -> dict[str, ColumnRole]:
    """Return the column of each role that has one. ``named_columns`` are those that the user named.

    Raises:
        SchemaError: if a named column does not exist, or there is no column of texts or vectors.
    """
    for role, column in named_columns.items():
        if role not in ROLES:
            suggestion = nearest(role, ROLES) or "."
            raise SchemaError(f"--columns: there is no role {role!r}{suggestion} The roles: {', '.join(ROLES)}")
        if role != "source" and column not in frame.columns:
            names = first_few(frame.columns, near=column)
            raise SchemaError(f"--columns {role}={column}: the data has no column {column!r}; it has {names}")
    roles = {
        role: ColumnRole(column, "named by --columns", computed=column not in frame.columns)
        for role, column in named_columns.items()
    }
    text = roles.get("text")
    if text is not None and text.column in frame.columns and is_chat(frame[text.column]):
        roles["text"] = ColumnRole(text.column, text.why, chat=True)
    for role, find in {"text": _text, "id": _id, "source": _source, "label": _label}.items():
        if role not in roles and (guessed := find(frame)) is not None:
            roles[role] = guessed
    if "tokens" not in roles and "text" in roles and (tokens := _tokens(frame, roles["text"])) is not None:
        roles["tokens"] = tokens
    return roles


def not_read(frame: pl.DataFrame, roles: Mapping[str, ColumnRole]) -> dict[str, str]:
    """Return why columns are not read that have the name of a role, and whose values do not suit it.

    Jobs read a column ``id``, ``source`` or ``tokens`` unless the recipe says otherwise.
    """
    reasons: dict[str, str] = {}
    for role in ("id", "source", "tokens"):
        if role not in roles and role in frame.columns and (reason := _misfit(role, frame[role])):
            reasons[role] = reason
    return reasons


def _misfit(role: str, column: pl.Series) -> str:
    """Return why the values of a column do not suit its name; empty if they do. Nulls do not count."""
    values = column.drop_nulls()
    if column.dtype.is_nested():
        return f"its values are of the type {str(column.dtype)[:60]}"
    if role == "id" and (repeated := len(values) - values.n_unique()):
        return f"{amount(repeated, 'row')} of the sample repeat the id of another row"
    if role == "source" and len(values) >= 3 * LEAST_ROWS and values.n_unique() == len(values):
        return "it differs in every row of the sample"
    if role == "tokens" and (column.dtype != pl.String and not column.dtype.is_numeric() or not column.null_count()):
        return "its values are no counts of tokens, by the sizes of the texts"
    return ""


def vectors(frame: pl.DataFrame) -> list[str]:
    """Return the columns of vectors."""
    return [name for name in frame.columns if name.startswith("emb.")]


def text_of(frame: pl.DataFrame, role: ColumnRole) -> pl.Series:
    """Return the texts of a sample: conversations are rendered, and the columns of a joined text stand together."""
    if role.joined:
        return frame.select(pl.concat_str(list(role.joined), separator="\n\n", ignore_nulls=True).alias("text"))["text"]
    column = frame[role.column]
    if not role.chat:
        return column.cast(pl.String).alias("text")
    return pl.Series("text", [_rendered(value) for value in column.to_list()], pl.String)


def _rendered(conversation: object) -> str | None:
    """Return the text of a conversation as it is scored; None for what cannot be rendered, which scoring sets aside."""
    try:
        return chat.rendered(conversation)
    except ValueError:
        return None


def is_chat(column: pl.Series) -> bool:
    """Return whether a column holds conversations: role and content (OpenAI), or from and value (ShareGPT).

    They are lists of messages, or the JSON of such lists.
    """
    if column.dtype == pl.String:
        texts = column.drop_nulls().head(LOOK_ROWS).to_list()
        return bool(texts) and all(map(_is_json_of_chat, texts))
    fields = set(_fields(column.dtype))
    return {"role", "content"} <= fields or {"from", "value"} <= fields


def _is_json_of_chat(text: str) -> bool:
    if not text.lstrip().startswith(("[", "{")):
        return False
    try:
        return chat.is_conversation(msgspec.json.decode(text))
    except (msgspec.MsgspecError, RecursionError):
        return False


def plain(name: str) -> str:
    """Return a name in small letters without marks and spaces: ``Raw Content`` and ``raw_content`` are one."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _fields(dtype: pl.DataType) -> list[str]:
    inner = getattr(dtype, "inner", None) if isinstance(dtype, pl.List | pl.Array) else None
    return [field.name for field in inner.fields] if isinstance(inner, pl.Struct) else []


def _by_name(frame: pl.DataFrame, names: Sequence[str]) -> Iterator[str]:
    """Yield the columns with one of these names, in the order of the names."""
    columns = {plain(name): name for name in reversed(frame.columns)}
    yield from (columns[name] for name in names if name in columns)


def _text(frame: pl.DataFrame) -> ColumnRole | None:
    strings = [
        name for name, dtype in frame.schema.items() if dtype == pl.String and frame[name].null_count() < frame.height
    ]
    chats = [name for name in frame.columns if is_chat(frame[name])]
    sizes = {name: float(frame[name].str.len_bytes().mean() or 0) for name in strings}  # type: ignore[arg-type]
    for name in _by_name(frame, TEXT):
        if name in sizes:
            return ColumnRole(name, f"its name, and {sizes[name]:,.0f} bytes on average", chat=name in chats)
    for name in [*(name for name in _by_name(frame, CHAT) if name in chats), *chats]:
        return ColumnRole(name, "lists of messages with a role and a content", chat=True)
    names = {plain(name): name for name in sizes}
    for group in JOINED:
        if set(group) <= names.keys():
            joined = tuple(names[name] for name in group)
            longest = max(joined, key=lambda name: sizes[name])
            return ColumnRole(longest, f"together they are one text: {', '.join(joined)}", joined=joined)
    # A column of ids or addresses is no text, though it may be long.
    texts = {name: size for name, size in sizes.items() if _words(frame[name]) >= 3}
    if not texts:
        return None
    longest = max(texts, key=lambda name: texts[name])
    return ColumnRole(longest, f"the longest texts, {texts[longest]:,.0f} bytes on average")


def _words(column: pl.Series) -> float:
    """Return the mean number of words of a column."""
    counts = column.drop_nulls().head(200).str.split(" ").list.len()
    return float(counts.mean() or 0)  # type: ignore[arg-type]


def _id(frame: pl.DataFrame) -> ColumnRole | None:
    for name in _by_name(frame, ID):
        column = frame[name]
        if not (column.dtype == pl.String or column.dtype.is_integer()) or column.null_count():
            continue
        if column.n_unique() == frame.height:
            return ColumnRole(name, f"its name, and {frame.height:,} different values in {frame.height:,} rows")
    return None


def _source(frame: pl.DataFrame) -> ColumnRole | None:
    nested = {
        f"{name}.{field.name}": frame[name].struct.field(field.name)
        for name, dtype in frame.schema.items()
        if isinstance(dtype, pl.Struct) and name.isidentifier()
        for field in dtype.fields
        if field.dtype == pl.String and field.name.isidentifier() and plain(field.name) in SOURCE
    }
    candidates = {name: frame[name] for name in _by_name(frame, SOURCE) if frame[name].dtype == pl.String} | nested
    for name, column in candidates.items():
        count = column.n_unique()
        # Each source should have several rows, or it tells rows apart and not where they come from.
        if count == 1 or (count <= MOST_SOURCES and 3 * count <= frame.height):
            return ColumnRole(name, f"its name, and {count:,} different values", computed=name in nested)
    return None


def _tokens(frame: pl.DataFrame, text: ColumnRole) -> ColumnRole | None:
    for name in _by_name(frame, TOKENS):
        # In CSV all columns are text.
        counts = frame[name].cast(pl.Int64, strict=False) if frame[name].dtype == pl.String else frame[name]
        if not counts.dtype.is_integer() or counts.null_count() or (total := int(counts.sum())) <= 0:
            continue
        ratio = int(text_of(frame, text).str.len_bytes().sum()) / total
        if BYTES_PER_TOKEN[0] <= ratio <= BYTES_PER_TOKEN[1]:
            return ColumnRole(name, f"its name, and {ratio:.2g} bytes of text for each token")
    return None


def _label(frame: pl.DataFrame) -> ColumnRole | None:
    for name in _by_name(frame, LABEL):
        column = frame[name]
        count = column.n_unique()
        if (column.dtype == pl.String or column.dtype.is_integer()) and 2 <= count and 3 * count <= frame.height:
            return ColumnRole(name, f"its name, and {count:,} different values")
    return None
