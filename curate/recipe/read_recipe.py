"""Read a recipe: a TOML file with the tables [data], [[score]], [prune], [pools] and [materialize].

In: a file, or the same tables in memory. Out: a `DataRecipe` in which every key is known and every value has its type,
or one line that names the file, the line, what is wrong and the nearest valid key.
"""

import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from curate.errors import CurateError, SchemaError, first_few
from curate.open_sets import nearest
from curate.recipe import early_checks, keys, scorer_tables, toml_lines, values
from curate.recipe.early_checks import WrongKey
from curate.recipe.paths import beside
from curate.recipe.scorer_tables import WrongScorerOption
from curate.scoring import specs
from curate.storage import files

TABLES = ("data", "score", "prune", "pools", "materialize")
OUT = "out"  # the only key above the tables
PATHS = "paths"
IN_MEMORY = "the recipe"  # how messages call a recipe that has no file


@dataclass(frozen=True)
class DataRecipe:
    """A recipe whose keys and values are checked.

    ``name`` is the path of its file, or empty. ``content`` is the hash of what it says. ``data`` and ``scorers`` are
    the arguments of the first step. ``options`` are the other arguments of each job in the order of the steps, by the
    parameters of the job's function; ``flags`` are the same by the flags of its command. ``out`` is the folder to
    write, or empty.
    """

    name: str
    content: str
    data: tuple[str, ...]
    scorers: tuple[str, ...]
    options: Mapping[str, Mapping[str, object]]
    flags: Mapping[str, Mapping[str, object]]
    out: str = ""


def read(recipe: str | Path | Mapping[str, object]) -> DataRecipe:
    """Read a recipe from its file, or from its tables in memory.

    Relative paths begin at the folder of the file; those of a recipe in memory at the working directory.

    Raises:
        SchemaError: if it is not TOML, or a table, a key or a value is wrong.
        CurateError: if a scorer or one of its options is unknown.
    """
    if isinstance(recipe, Mapping):
        text = json.dumps(recipe, sort_keys=True, default=str)
        return _Reader("", Path(), "").recipe(recipe, text)
    path = Path(recipe)
    if path.is_dir():
        raise SchemaError(
            f"{path} is a folder, not a recipe. `curate run --init {path}` writes a recipe for the data in it"
        )
    try:
        text = files.read_bytes(path).decode("utf-8-sig")
        tables = tomllib.loads(text)
    except FileNotFoundError:
        raise SchemaError(f"no such recipe: {path}. `curate run --init DATA` writes one for your data") from None
    except UnicodeDecodeError as error:
        raise SchemaError(f"{path} is not text in UTF-8 (byte {error.start + 1}). Save it as UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise SchemaError(f"{path} is not TOML: {error}. Texts stand in quotes, and each key on its own line") from None
    except RecursionError:
        raise SchemaError(
            f"{path} is not TOML: its lists lie too deep in each other. No key of a recipe takes such lists"
        ) from None
    return _Reader(str(path), path.parent, text).recipe(tables, text)


@dataclass(frozen=True)
class _Reader:
    """What the messages and the paths of one recipe need: its name, its folder and its text."""

    name: str
    base: Path
    text: str

    def recipe(self, tables: Mapping[str, object], text: str) -> DataRecipe:
        """Check all tables, and return the recipe."""
        self._check_names(tables)
        data = self._table(tables, "data")
        scorers = self._scorers(tables.get("score"))
        options: dict[str, Mapping[str, object]] = {}
        flags: dict[str, Mapping[str, object]] = {}
        for table, job in keys.JOBS.items():
            # The training set is drawn from pools, so that a recipe with one has the other.
            if table in tables or (table == "pools" and "materialize" in tables):
                rows = {
                    k: v for k, v in self._table(tables, table, required=False).items() if (table, k) != ("data", PATHS)
                }
                flags[job.name], options[job.name] = self._options(table, rows)
        out = tables.get(OUT, "")
        if not isinstance(out, str):
            raise self._error("", OUT, "out must be the path of a folder in quotes")
        recipe = DataRecipe(
            self.name,
            files.text_hash(text),
            self._paths(data),
            scorers,
            options,
            flags,
            beside(self.base, out) if out else "",
        )
        self._check_later_steps(recipe)
        return recipe

    def _check_names(self, tables: Mapping[str, object]) -> None:
        """Refuse a table or a key above the tables that does not exist."""
        for name, value in tables.items():
            if name in TABLES or name == OUT:
                continue
            if isinstance(value, Mapping) or (isinstance(value, list) and value and isinstance(value[0], Mapping)):
                message = f"there is no table [{name}]{nearest(name, TABLES)}"
                raise self._error(
                    name, "", f"{message.rstrip('.')} The tables: [data], [[score]], [prune], [pools], [materialize]"
                )
            tables_with = [table for table in keys.JOBS if name.replace("-", "_") in {*keys.keys(table), PATHS}]
            place = f"Write it below {_listed(tables_with)}" if tables_with else "Only `out` stands above the tables"
            raise self._error("", name, f"the key {name!r} stands above the first table. {place}")

    def _table(self, tables: Mapping[str, object], name: str, *, required: bool = True) -> Mapping[str, object]:
        table = tables.get(name)
        if isinstance(table, Mapping):
            return table
        if table is None and not required:
            return {}
        if table is None:
            raise self._error("", "", f'[{name}] is missing: it names the data, such as paths = ["data/"]')
        raise self._error(name, "", f"[{name}] must be one table. Write its name in single brackets, and only once")

    def _paths(self, data: Mapping[str, object]) -> tuple[str, ...]:
        paths = data.get(PATHS)
        items = [paths] if isinstance(paths, str | Path) else paths
        # A recipe in memory may have paths as Python has them.
        if (
            not isinstance(items, list | tuple)
            or not items
            or not all(isinstance(item, str | Path) and str(item) for item in items)
        ):
            what = (
                "paths must be a list of files, folders or globs"
                if paths is not None
                else "[data] needs the key 'paths'"
            )
            raise self._error("data", PATHS if paths is not None else "", f'{what}, such as paths = ["data/"]')
        return tuple(beside(self.base, str(item)) for item in items)

    def _scorers(self, tables: object) -> tuple[str, ...]:
        if isinstance(tables, Mapping):
            raise self._error("score", "", "each scorer has a table of its own: write [[score]] in double brackets")
        if not isinstance(tables, list | tuple) or not tables:
            raise self._error("", "", 'a recipe needs one [[score]] or more, such as scorer = "length"')
        scorers: list[str] = []
        for number, table in enumerate(tables):
            if not isinstance(table, Mapping):
                raise self._error("score", "", '[[score]] must be a table, such as scorer = "length"')
            try:
                scorers.append(scorer_tables.spec(table, self.base))
                specs.check_columns_added(scorers[-1:])
            except WrongScorerOption as error:
                raise self._error("score", error.key, str(error), number=number) from None
            except CurateError as error:
                key = next((key for key in table if repr(key.replace("-", "_")) in str(error)), "scorer")
                raise self._error("score", key, str(error), number=number) from None
        try:
            specs.check_columns_added(scorers)
        except CurateError as error:
            raise self._error("score", "", str(error)) from None
        return tuple(scorers)

    def _options(self, table: str, written: Mapping[str, object]) -> tuple[dict[str, object], dict[str, object]]:
        """Return the options of one table by flag, and by parameter of its job."""
        known_keys = keys.keys(table)
        flags: dict[str, object] = {}
        options: dict[str, object] = {}
        for key, value in written.items():
            name = key.replace("-", "_")
            if name not in known_keys:
                raise self._error(table, key, self._unknown(table, name))
            if name in flags:
                raise self._error(table, key, f"{name} is written twice, with - and with _: write it once")
            try:
                converted = known_keys[name].read(value)
            except values.WrongType as error:
                shown = json.dumps(value, default=str)
                raise self._error(table, key, f"{key} must be {error}, not {shown[:60]}") from None
            parameter = known_keys[name].parameter
            # The plan is the one path among the keys.
            if parameter == "plan":
                converted = value = beside(self.base, str(converted))
            flags[name], options[parameter] = value, converted
        missing = [key.name for key in known_keys.values() if key.required and key.name not in flags]
        if missing:
            raise self._error(table, "", f"[{table}] needs the key {missing[0]!r}")
        return flags, options

    def _unknown(self, table: str, name: str) -> str:
        valid = [*([PATHS] if table == "data" else []), *keys.keys(table)]
        elsewhere = [f"[{other}]" for other in keys.JOBS if other != table and name in {*keys.keys(other)}]
        if name in keys.OF_THE_RUN:
            return f"{name} holds for all steps: give it to `curate run` as --{name.replace('_', '-')}"
        if name == PATHS and table != "data":
            elsewhere.append("[data]")
        if elsewhere and not (suggestion := nearest(name, valid)):
            return f"[{table}] has no key {name!r}; it is a key of {' and '.join(elsewhere)}"
        suggestion = nearest(name, valid)
        return f"[{table}] has no key {name!r}{suggestion or '.'} Its keys: {first_few(valid, near=name)}"

    def _check_later_steps(self, recipe: DataRecipe) -> None:
        """Refuse options of later steps that cannot be used: scoring may take hours."""
        for table in ("prune", "pools", "materialize"):
            options = recipe.options.get(table, {})
            try:
                early_checks.check_scores(options, recipe.scorers)
                early_checks.check_requirements(options, recipe.scorers, recipe.data)
                if table == "prune" and table in recipe.options:
                    early_checks.check_rule(options, recipe.scorers)
                    early_checks.check_options(options)
                if table == "materialize":
                    early_checks.check_training_set(options, recipe.data)
            except WrongKey as error:
                raise self._error(table, error.key, str(error)) from None

    def _error(self, table: str, key: str, message: str, *, number: int = 0) -> SchemaError:
        """Return the error for a key of a table, with the line of the file."""
        spellings = (key, key.replace("_", "-"))
        lines = (toml_lines.line_of(self.text, table, name, number=number) for name in spellings if table or key)
        line = next((line for line in lines if line is not None), None)
        if line is None and table:
            line = toml_lines.line_of(self.text, table, number=number)
        place = f"{self.name or IN_MEMORY}{f', line {line}' if line and self.name else ''}"
        return SchemaError(f"{place}: {message}")


def _listed(tables: Sequence[str]) -> str:
    return " or ".join(f"[{table}]" for table in tables)
