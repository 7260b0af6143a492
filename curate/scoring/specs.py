"""Find what scorers read, add and depend on, from their names and options (``name:key=value,...``)."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from types import ModuleType

from curate import open_sets
from curate.errors import SchemaError
from curate.models import pretrained, token_counter
from curate.scorers import Scorer
from curate.scorers._target import listed as listed_paths
from curate.scoring import renamed
from curate.scoring.inferred_options import accepted
from curate.storage import files
from curate.storage.files import content_hash
from curate.tables import batches, file_format, meanings
from curate.tables.columns import vectors
from curate.tables.meanings import Declaration

# Options that name files of rows. They are read like the data: see `curate.scorers._target`.
ROW_FILES = ("target", "good", "bad", "against")
OTHER_FILES = ("path", "model", "badwords", "fasttext")  # tables of vectors, models, and lists of words
SCORE_FILES = "score_files"  # the key of the format of score files, among those of the scorers


def learns(spec: str) -> bool:
    """Return whether a scorer first reads all the data to learn from it."""
    return hasattr(open_sets.module("scorers", open_sets.parse(spec)[0]), "learn")


def build(spec: str) -> Scorer:
    """Build a scorer that does not learn from the data."""
    return renamed.build(spec)


def inputs(scorers: Sequence[Scorer], computed: Collection[str] = ()) -> tuple[str, ...]:
    """Return the columns that must be in the data: those that scorers read and no earlier scorer adds.

    A scorer reads the columns of its attribute ``computed`` instead of ``needs``, if all of them are in ``computed``.
    """
    added: set[str] = set()
    needed: dict[str, None] = {}
    for scorer in scorers:
        instead = tuple(getattr(scorer, "computed", ()))
        needs = instead if instead and set(instead) <= set(computed) else scorer.needs
        needed |= {name: None for name in needs if name not in added and name not in batches.IDENTITY}
        added |= set(scorer.schema)
    return tuple(needed)


def declarations(scorers: Sequence[object]) -> dict[str, Declaration]:
    """Return the declarations of score columns by scorers, or by classes of scorers.

    If the meanings depend on options, the class declares nothing, and only its instances do. A scorer that a user wrote
    may declare nothing.

    Raises:
        SchemaError: if ``meanings`` is no dictionary, if a meaning is not one of the three, or if it is for a column
            that the scorer does not add.
    """
    result = {}
    for scorer in scorers:
        words, logs = getattr(scorer, "meanings", {}), getattr(scorer, "log_weights", ())
        schema = getattr(scorer, "schema", None)
        name = (scorer if isinstance(scorer, type) else type(scorer)).__name__
        if not isinstance(words, Mapping):
            if isinstance(scorer, type):  # a property, whose value depends on options
                continue
            raise SchemaError(f"{name}.meanings is {words!r}. Make it a dictionary, such as {{'score.x': 'quality'}}")
        for column, word in words.items():
            where = f"{name}.meanings[{column!r}]"
            meaning = meanings.checked(word, where)
            if isinstance(schema, Mapping) and column not in schema:
                raise SchemaError(f"{where}: the scorer adds {', '.join(schema)}. Name one of them")
            result[column] = Declaration(meaning, isinstance(logs, Collection) and column in logs)
    return result


def warnings(scorers: Sequence[Scorer]) -> tuple[str, ...]:
    """Return a warning for each score whose scorer does not declare what a high score means.

    A scorer with ``meaning_is_optional`` leaves this to the user.
    """
    declared = declarations(scorers)
    judged = [scorer for scorer in scorers if not getattr(scorer, "meaning_is_optional", False)]
    columns = (column for scorer in judged for column in scorer.schema if column.startswith("score."))
    return tuple(
        f'{column}: its scorer does not declare what a high score means. Add meanings = {{"{column}": "quality"}} (or '
        "hardness, easiness) to the class of the scorer. Or give `curate prune` the option --meaning "
        f"{column.removeprefix('score.')}=quality (or hardness, easiness)"
        for column in columns
        if column not in declared
    )


def columns_read(specs: Sequence[str]) -> tuple[str, ...]:
    """Return the columns that must be in the data, as far as this is known before scorers have learned.

    The columns that a learning scorer reads follow from its class, its option ``embedding``, and ``LEARNS_FROM`` in its
    file.
    """
    added: set[str] = set()
    needed: dict[str, None] = {}
    for spec in specs:
        name, options = open_sets.parse(spec)
        module = open_sets.module("scorers", name)
        # A scorer that learns cannot be built yet; its class says as much as is known.
        described = renamed.described(spec) if learns(spec) else build(spec)
        needs, schema = getattr(described, "needs", ()), getattr(described, "schema", {})
        columns = [*(needs if isinstance(needs, tuple) else ()), *getattr(module, "LEARNS_FROM", ())]
        columns += [str(value) for key, value in {**accepted(spec), **options}.items() if key == "embedding"]
        needed |= {column: None for column in columns if column not in added and column not in batches.IDENTITY}
        # The schema of a class is a property, and says nothing, where it is known only after learning.
        added |= set(schema if isinstance(schema, Mapping) else ())
        added |= set(module.makes(options) if hasattr(module, "makes") else ())
    return tuple(needed)


def vectors_read(specs: Sequence[str]) -> tuple[str, ...]:
    """Return the columns of vectors that options ``embedding`` name and no scorer of the job adds."""
    parsed = list(map(open_sets.parse, specs))
    added = [f"emb.{options.get('encoder', 'hashed')}" for name, options in parsed if name == "embedding"]
    read = [str(options["embedding"]) for _, options in parsed if "embedding" in options]
    return tuple(dict.fromkeys(name for name in read if name not in added))


def check_columns_added(specs: Sequence[str]) -> None:
    """Check that names and options exist, that meanings are known, and that no two scorers add the same column.

    Raises:
        CurateError: if a name or an option is unknown.
        SchemaError: if two scorers add the same column, a scorer declares a meaning that does not exist, or it reads
            results of a scorer that the job does not have.
    """
    added_by: dict[str, str] = {}
    for spec in specs:
        described: object
        if learns(spec):
            check_options(spec)
            name, options = open_sets.parse(spec)
            module = open_sets.module("scorers", name)
            if check_packages := getattr(module, "check_packages", None):
                check_packages(options)
            if check_scorers := getattr(module, "check_scorers", None):
                check_scorers([open_sets.parse(other) for other in specs])
            described = renamed.described(spec)
        else:
            described = build(spec)
        declarations([described])
        schema = getattr(described, "schema", ())
        for column in schema if isinstance(schema, Mapping) else ():
            if column in added_by:
                raise SchemaError(
                    f"scorers {added_by[column]} and {spec} both make {column}. Leave one out, or give one of them "
                    "another name: name=WORD"
                )
            added_by[column] = spec


def check_options(spec: str) -> None:
    """Check the options of a scorer that learns.

    Raises:
        CurateError: if its ``learn`` function has no such option (the message gives the nearest one).
        SchemaError: if a value has the wrong type, or ``embedding`` does not name a column of vectors.
    """
    name, _, options = renamed.split_name(spec)
    open_sets.check_options(name, options, open_sets.option_types("scorers", name))
    column = options.get("embedding", vectors.PREFIX)
    if not str(column).startswith(vectors.PREFIX):
        raise SchemaError(f"{name}: embedding={column} is not a column of vectors. Such columns are named emb.<name>")


def formats(specs: Sequence[str]) -> dict[str, int]:
    """Return the format numbers of score files, of each scorer, and of each encoder (as ``encoders/NAME``).

    A scorer or encoder has the format 1, unless its class or its file declares an integer ``FORMAT``. Its author raises
    this number when the scores of the same rows change.
    """
    numbers = {SCORE_FILES: file_format.FORMAT}
    for spec in specs:
        name, options = open_sets.parse(spec)
        scorer = open_sets.implementation("scorers", name)
        numbers[name] = _format(open_sets.module("scorers", name), scorer)
        # The encoder of `embedding` decides its vectors as much as its own code does.
        encoder = options.get("encoder", getattr(scorer, "encoder", None))
        if isinstance(encoder, str):
            folder = open_sets.module("encoders", encoder)
            numbers[f"encoders/{encoder}"] = _format(folder, open_sets.implementation("encoders", encoder))
    return numbers


def _format(module: ModuleType, implementation: type) -> int:
    number: object = getattr(implementation, "FORMAT", getattr(module, "FORMAT", 1))
    return number if isinstance(number, int) else 1


def files_read(specs: Sequence[str]) -> list[Path]:
    """Return the files that options such as ``target``, ``against`` and ``model`` name.

    Scores depend on their content.
    """
    parsed = [options for _, options in map(open_sets.parse, specs)]
    lists = [str(options[key]) for options in parsed for key in ROW_FILES if options.get(key)]
    paths = [shard.path for shard in batches.shards(sorted({path for named in lists for path in listed_paths(named)}))]
    others = {str(options[key]) for options in parsed for key in OTHER_FILES if options.get(key)}
    for item in sorted(others):
        # A table, the folder of a model, or the id of a model that was downloaded before.
        paths += [path for path, _ in files.listed(str(pretrained.cached(item) or item))]
    for tokenizer in sorted({str(options["tokenizer"]) for options in parsed if options.get("tokenizer")}):
        paths += token_counter.files_of(tokenizer)
    return paths


def own_files(names: Sequence[str]) -> dict[str, str]:
    """Return the content hash of each scorer file that is the user's own (``path/to/file.py:ClassName``).

    Scorers of curate are compared by their format numbers instead, so that a new release does not stop a job.
    """
    paths = [own["file"] for name in names if (own := open_sets.OWN_CLASS.fullmatch(name))]
    return {path: content_hash(Path(path)) for path in paths}
