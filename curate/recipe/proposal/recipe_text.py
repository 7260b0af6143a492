"""Write a proposed recipe as TOML, with a comment for every choice.

In: what was seen of the data, its paths and columns, and the scorers. Out: the text of a recipe.
"""

import json
import textwrap
from collections.abc import Iterator, Mapping, Sequence

from curate.recipe import keys
from curate.recipe.proposal import advice as advices
from curate.recipe.proposal.advice import ScorerAdvice, Suggestion
from curate.recipe.proposal.roles import ColumnRole
from curate.shown import escaped
from curate.tables.batches import BYTES_PER_TOKEN
from curate.tables.mapping.column_mapping import NULL

WIDTH = 100  # of a line of comment


def write(
    seen: Sequence[str],
    paths: Sequence[str],
    roles: Mapping[str, ColumnRole],
    scorers: Sequence[ScorerAdvice],
    suggestions: Sequence[Suggestion],
    not_read: Mapping[str, str],
) -> str:
    """Return the text of a recipe; ``seen`` are the lines at its head.

    ``suggestions`` are written as comments. ``not_read`` says why columns are not read that have the name of a role.
    """
    lines = [*_head(seen), *_data(paths, roles, not_read), *_scorers(scorers), *_suggested(suggestions)]
    lines += [*_prune(scorers, suggestions), *_rest(roles)]
    return "\n".join(lines) + "\n"


def _comment(sentences: str) -> Iterator[str]:
    """Yield sentences as lines of comment. Names of users may hold any character."""
    for line in textwrap.wrap(escaped(sentences), WIDTH - 2, break_long_words=False):
        yield f"# {line}"


def _head(seen: Sequence[str]) -> Iterator[str]:
    yield "# A recipe for `curate run`. Change what you like: after an edit, the same command does again what changed."
    yield "# What was seen of the data:"
    for line in seen:
        yield f"# - {escaped(line)}"
    yield ""


def _data(paths: Sequence[str], roles: Mapping[str, ColumnRole], not_read: Mapping[str, str]) -> Iterator[str]:
    yield "[data]"
    yield f"paths = {_toml(list(paths))}"
    for role, of_role in roles.items():
        yield from _comment(f"Column of {role}: {of_role.name} ({of_role.why}).")
    for name, why in not_read.items():
        default = " The id of a row is its file and its number." if name == "id" else ""
        yield from _comment(f"The column {name} is not read: {why}.{default}")
    if "source" not in roles:
        yield from _comment("No column of sources: the source of a row is the name of its folder.")
    if "tokens" not in roles:
        yield from _comment(f"No column of tokens: they are estimated as bytes / {BYTES_PER_TOKEN}.")
    yield from _column_keys(roles, not_read)
    yield ""


def _column_keys(roles: Mapping[str, ColumnRole], not_read: Mapping[str, str]) -> Iterator[str]:
    """Yield the keys that say which columns are read, as far as this version of curate has them."""
    text = roles.get("text")
    has_columns, has_join = ("columns" in keys.keys("data")), ("join" in keys.keys("data"))
    renamed = {role: of_role.column for role, of_role in roles.items() if of_role.column != role}
    if text is not None and text.joined and has_join:
        renamed.pop("text", None)
        yield f"join = {_toml(list(text.joined))}"
    if (renamed or not_read) and has_columns:
        columns = {role: roles[role].spelled for role in renamed} | dict.fromkeys(not_read, NULL)
        yield f"columns = {_toml(columns)}"
    elif "text" in renamed:
        yield f"text-column = {_toml(renamed['text'])}"
    if text is not None and text.chat:
        yield 'render = "chat"'


def _scorers(scorers: Sequence[ScorerAdvice]) -> Iterator[str]:
    for item in scorers:
        yield from _comment(f"{item.scorer}: {item.why}.")
        yield "[[score]]"
        yield f"scorer = {_toml(item.scorer)}"
        yield from (f"{key} = {_toml(value)}" for key, value in item.options.items())
        yield ""


def _suggested(suggestions: Sequence[Suggestion]) -> Iterator[str]:
    for item in suggestions:
        yield from _comment(f"Not done, {item.scorer}: {item.why}. To do it, remove the marks # before these lines:")
        for lines in (*item.before, (f'scorer = "{item.scorer}"', *item.options)):
            yield from (f"# {line}" for line in ("[[score]]", *lines))
        yield ""


def _prune(scorers: Sequence[ScorerAdvice], suggestions: Sequence[Suggestion]) -> Iterator[str]:
    """Yield the table [prune]: requirements, or the removal of near copies in a version without requirements."""
    conditions = [item for item in scorers if item.requirement]
    if not conditions:
        return
    yield "[prune]"
    if "require" not in keys.keys("prune"):
        yield from _comment(f"Near copies are removed: {conditions[-1].source}.")
        yield from ('by = "score.duplicates"', 'rule = "threshold"', f"keep = {advices.NEAR_COPY}", "")
        return
    yield "# A row must meet all of these, in this order. A row that fails carries the condition as its reason."
    yield "require = ["
    for item in conditions:
        share = "" if item.removed is None else f" In the sample {item.removed:.1%} fail."
        share += "" if item.removed_code is None else f" Of the texts that look like code {item.removed_code:.1%} fail."
        off = f" It is not applied: {item.off}." if item.off else ""
        yield from (f"    {line}" for line in _comment(f"{item.scorer}: {item.source}.{share}{off}"))
        yield f"    {'' if item.is_active else '# '}{_toml(item.requirement)},"
    for suggestion in suggestions:
        for condition in suggestion.requirements:
            yield f"    # Not done, {suggestion.scorer}: see the scorer of this name above."
            yield f"    # {_toml(condition)},"
    yield "]"
    for suggestion in suggestions:
        if suggestion.prune:
            yield f"# Not done, {suggestion.scorer}: keep the best rows by its score."
            yield from (f"# {line}" for line in suggestion.prune)
    if "keep_tokens" in keys.keys("prune"):
        yield "# To keep a budget of tokens, the best rows first, name a score and the number:"
        yield '# by = "score.repetition"'
        yield "# keep-tokens = 20e9"
    yield ""


def _rest(roles: Mapping[str, ColumnRole]) -> Iterator[str]:
    yield "# One pool for each source. A plan mixes pools; to split each source by a score, add by and bins:"
    yield "[pools]"
    yield '# by = "score.repetition"'
    yield "# bins = 3"
    yield ""
    if "text" not in roles:
        return
    yield "# The training set: all rows that are kept, shuffled. Leave this table out to write no rows."
    yield "[materialize]"
    yield "seed = 0"


def _toml(value: object) -> str:
    """Return a value as TOML."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {_toml(item)}" for key, item in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, str) and '"' in value and "'" not in value and value.isprintable():
        # Between single quotes nothing is escaped.
        return f"'{value}'"
    # JSON escapes texts as TOML does, but for one character.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
