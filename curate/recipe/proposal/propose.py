"""Propose a recipe for data, with a comment for every choice: what the sample shows, and where a threshold is from.

In: files, folders or globs, and columns that the user names. Out: a `Proposal`, whose text is a recipe that runs.
"""

import os
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from curate import written_names
from curate.errors import SchemaError, amount, first_few
from curate.recipe import read_recipe
from curate.recipe.proposal import advice as advices
from curate.recipe.proposal import recipe_text
from curate.recipe.proposal import roles as columns_of
from curate.recipe.proposal import texts as texts_of
from curate.recipe.proposal.advice import ScorerAdvice
from curate.recipe.proposal.roles import ColumnRole
from curate.recipe.proposal.sample import DataSample, sample
from curate.recipe.proposal.texts import TextFacts
from curate.shown import escaped
from curate.storage import files, s3
from curate.tables.batches import BYTES_PER_TOKEN


@dataclass(frozen=True)
class Proposal:
    """A recipe as text, and what was seen of the data: ``lines`` for people, ``facts`` for machines."""

    text: str
    lines: tuple[str, ...]
    facts: Mapping[str, object] = field(default_factory=dict)

    def save(self, path: str | Path, *, force: bool = False) -> None:
        """Write the recipe to a file.

        Raises:
            SchemaError: if there is such a file already, and ``force`` is not set.
        """
        if files.exists(Path(path)) and not force:
            raise SchemaError(f"{path} exists already. Give another --out, or --force to replace it")
        files.write_text(Path(path), self.text)

    def record(self) -> dict[str, object]:
        """Return the recipe and what was seen of the data, ready for JSON."""
        return {"recipe": self.text, **self.facts}


def propose(data: Sequence[str], *, columns: str | Mapping[str, str] = "", beside: Path = Path()) -> Proposal:
    """Look at a sample of data, and propose a recipe.

    Args:
        data: files, folders or globs.
        columns: columns that the user knows, as ``text=Body,id=DocID`` or as a dictionary.
        beside: the folder in which the recipe will be. Its paths begin there.

    Raises:
        SchemaError: if there are no rows, or no column of texts or vectors.
    """
    sampled = sample(data)
    roles = columns_of.guess(sampled.frame, _columns(columns))
    paths = [_seen_from(beside, item) for item in data]
    vectors = columns_of.vectors(sampled.frame)
    text = roles.get("text")
    if text is None and not vectors:
        raise SchemaError(
            "no column holds texts, and none vectors (emb.NAME). The columns: "
            f"{first_few(sampled.frame.columns)}. Name the column of texts with --columns text=NAME"
        )
    facts = None if text is None else texts_of.measure(columns_of.text_of(sampled.frame, text))
    scorers = (
        [ScorerAdvice("prototypes", "how typical a vector is of its cluster", {"embedding": vectors[0], "k": 32})]
        if text is None or facts is None
        else advices.advise(columns_of.text_of(sampled.frame, text), facts, chat=text.chat)
    )
    seen = list(_seen(sampled, facts, roles.get("tokens")))
    not_read = columns_of.not_read(sampled.frame, roles)
    labels = _labels(sampled.frame, roles.get("label"))
    suggestions = advices.suggest(facts, sampled.rows, labels)
    recipe = recipe_text.write(seen, paths, roles, scorers, suggestions, not_read)
    # A recipe that cannot be read is our mistake, and must not reach a user.
    read_recipe.read(tomllib.loads(recipe))
    lines = [*seen, *(f"column of {role}: {of_role.name}, {of_role.why}" for role, of_role in roles.items())]
    lines += [f"the column {name} is not read: {why}" for name, why in not_read.items()]
    lines += [f"scorer {item.scorer}: {item.why}" for item in scorers]
    lines += [f"not applied: {item.requirement}, since {item.off}" for item in scorers if item.off]
    if sampled.rows is not None and sampled.rows < advices.FEW_ROWS:
        lines.append(f"{amount(sampled.rows, 'row')} are few: read removal.md to see whether good ones are lost")
    record: dict[str, object] = {
        "files": len(sampled.shards),
        "formats": sampled.formats,
        "bytes": sampled.bytes,
        "rows": sampled.rows,
        "sampled_rows": sampled.frame.height,
        "columns": {role: of_role.name for role, of_role in roles.items()},
        "scorers": [advices.spec(item) for item in scorers],
        "languages": {} if facts is None else facts.languages,
        "copies": None if facts is None else facts.copies,
        "code": None if facts is None else facts.code,
        "labels": labels,
    }
    return Proposal(recipe, tuple(escaped(line) for line in lines), record)


def _labels(frame: pl.DataFrame, role: ColumnRole | None) -> list[str]:
    """Return the classes in the sample, in the order of their names; none without a column of labels."""
    if role is None or role.column not in frame.columns:
        return []
    return sorted(frame[role.column].drop_nulls().cast(pl.String, strict=False).drop_nulls().unique().to_list())


def _columns(columns: str | Mapping[str, str]) -> dict[str, str]:
    if isinstance(columns, Mapping):
        return dict(columns)
    pairs: dict[str, str] = {}
    for item in written_names.split(columns) if columns else []:
        role, equals, column = item.partition("=")
        if not equals or not column.strip():
            raise SchemaError(f'--columns {item!r} is not ROLE=COLUMN, such as text="Raw Content"')
        pairs[role.strip()] = written_names.name(column)
    return pairs


def _seen_from(folder: Path, item: str) -> str:
    """Return a path or glob as seen from the folder of the recipe."""
    if s3.remote(Path(item)) or os.path.isabs(item):
        return item
    return Path(os.path.relpath(item, folder)).as_posix()


def _seen(sampled: DataSample, facts: TextFacts | None, tokens: ColumnRole | None) -> Iterator[str]:
    """Yield one line for each thing that the sample shows. ``tokens`` is the column of token counts."""
    formats = ", ".join(f"{count} {ending}" for ending, count in sampled.formats.items())
    rows = "" if sampled.rows is None else f", {amount(sampled.rows, 'row')}"
    size = f"{sampled.bytes / 1e6:,.1f} MB" if sampled.bytes >= 1e5 else f"{sampled.bytes / 1e3:,.1f} kB"
    yield f"{amount(len(sampled.shards), 'file')} ({formats}), {size}{rows}"
    yield f"sample: the first rows of {amount(sampled.sampled_files, 'file')}, {amount(sampled.frame.height, 'row')}"
    yield from sampled.warnings
    if sampled.unreadable:
        yield f"{amount(len(sampled.unreadable), 'file')} cannot be read: {next(iter(sampled.unreadable.values()))}"
    if facts is None:
        return
    yield f"texts: {facts.mean_bytes:,.0f} bytes on average, {facts.median_bytes:,.0f} at the median"
    if sampled.rows is not None and tokens is None:
        yield f"about {sampled.rows * facts.mean_bytes / BYTES_PER_TOKEN:.2g} tokens (bytes / {BYTES_PER_TOKEN})"
    if sampled.rows is not None and tokens is not None and tokens.column in sampled.frame.columns:
        # In CSV all columns are text.
        mean = sampled.frame[tokens.column].cast(pl.Float64, strict=False).mean()
        yield f"about {sampled.rows * float(mean or 0):.2g} tokens, as the column {tokens.column} counts them"  # type: ignore[arg-type]
    yield f"{facts.empty:.1%} of the texts are empty, and {facts.copies:.1%} are exact copies of another"
    yield f"{facts.code:.1%} of the texts look like code"
    if facts.languages:
        shares = [f"{language} {share:.1%}" for language, share in facts.languages.items()]
        yield f"languages: {first_few(shares)}"
    else:
        yield f"languages: not looked at. {facts.no_languages}"
