"""Define what a high score means: better, harder or easier. Score files record it, and rules of pruning use it.

In: what scorers declare. Out: JSON fields of a score file's metadata, and the meanings that score files record.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from curate.errors import SchemaError
from curate.storage import files
from curate.tables import readers
from curate.tables.shards import Shard

Meaning = Literal["quality", "hardness", "easiness"]
MEANINGS: tuple[Meaning, ...] = get_args(Meaning)
HIGH_IS: Mapping[Meaning, str] = {"quality": "better", "hardness": "harder", "easiness": "easier"}
# Every score file has this column, and no scorer declares it. More tokens count as better, as for `score.length`.
TOKENS = "tokens"
MEANINGS_FIELD, LOG_WEIGHTS_FIELD = "meanings", "log_weights"  # fields of the JSON object in the metadata


@dataclass(frozen=True)
class Declaration:
    """The declaration of one score: its meaning, and whether it is the logarithm of an importance weight.

    ``meaning`` is None if nothing declares it.
    """

    meaning: Meaning | None = None
    log_weight: bool = False


def choices() -> str:
    """Return the three meanings as a message lists them."""
    listed = [f"{meaning} (high is {HIGH_IS[meaning]})" for meaning in MEANINGS]
    return f"{', '.join(listed[:-1])} or {listed[-1]}"


def described(meaning: Meaning) -> str:
    """Return a noun for a score of this meaning: ``an easiness score (high is easier)``."""
    return f"{'an' if meaning == 'easiness' else 'a'} {meaning} score (high is {HIGH_IS[meaning]})"


def checked(meaning: object, where: str) -> Meaning:
    """Check that a meaning is one of the three, and return it.

    Raises:
        SchemaError: if it is another word. The message begins with ``where``.
    """
    for known_meaning in MEANINGS:
        if meaning == known_meaning:
            return known_meaning
    raise SchemaError(f"{where}: {meaning!r} is not a meaning of a score. Choose {choices()}")


def fields(declarations: Mapping[str, Declaration]) -> dict[str, object]:
    """Return the JSON fields that a score file records, from the declaration of each score column."""
    meanings = {column: item.meaning for column, item in declarations.items() if item.meaning is not None}
    log_weights = [column for column, item in declarations.items() if item.log_weight]
    record: dict[str, object] = {MEANINGS_FIELD: meanings} if meanings else {}
    return record | ({LOG_WEIGHTS_FIELD: log_weights} if log_weights else {})


def recorded(shards: Sequence[Shard]) -> dict[str, Declaration]:
    """Return what score files record, by column. A column is included only if all files record the same for it.

    Other programs drop the metadata when they rewrite a file. The meaning is then not guessed from a column's name.
    """
    records = files.each(lambda shard: _declarations(readers.fields(shard)), shards, shards[0].path)
    first = {TOKENS: Declaration("quality")} | records[0]
    return {
        column: declaration
        for column, declaration in first.items()
        if column == TOKENS or all(record.get(column) == declaration for record in records)
    }


def by_file(shards: Sequence[Shard], column: str) -> dict[Meaning | None, list[Shard]]:
    """Return the score files by the meaning that they record of a column; None: by no meaning."""
    groups: dict[Meaning | None, list[Shard]] = {}
    for shard in shards:
        declaration = _declarations(readers.fields(shard)).get(column, Declaration())
        groups.setdefault(declaration.meaning, []).append(shard)
    return groups


def _declarations(record: Mapping[str, object]) -> dict[str, Declaration]:
    """Read the fields of one file's metadata. Values that this version cannot read are ignored."""
    meanings, log_weights = record.get(MEANINGS_FIELD), record.get(LOG_WEIGHTS_FIELD)
    logs = log_weights if isinstance(log_weights, list) else []
    return {
        column: Declaration(meaning, column in logs)
        for column, meaning in (meanings if isinstance(meanings, dict) else {}).items()
        if meaning in MEANINGS
    }
