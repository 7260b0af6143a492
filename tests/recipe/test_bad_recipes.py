"""Every mistake in a recipe is found before any file is read, and told with its line and the nearest valid key."""

from pathlib import Path

import pytest
from conftest import one_line
from hypothesis import given
from hypothesis import strategies as st

import curate
from curate.errors import CurateError
from curate.open_sets import option_types
from curate.recipe import keys, read_recipe, toml_lines
from pipelines.shared.cli import source
from pipelines.shared.usage import flags

GOOD = """out = "out"
[data]
paths = ["data"]
[[score]]
scorer = "length"
[[score]]
scorer = "prototypes:k=8"
seed = 3
[prune]
by = "score.length"
keep = 0.5
[pools]
bins = 2
[materialize]
shard-rows = 15
"""
# Flags that are not of the recipe: where and how the whole run works.
OF_THE_COMMAND = {
    "engine",
    "address",
    "runtime_env",
    "gpus_per_worker",
    "json",
    "as_json",
    "hard_end",
    "out",
    "restart",
}
OF_THE_COMMAND |= {"relearn", "take_over", "dry_run", "partial", "workers", "scorer", "data", "scores", "kept", "pools"}


def message(tmp_path, text):
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    with pytest.raises(CurateError) as error:
        read_recipe.read(path)
    assert "\n" not in str(error.value)
    return str(error.value).replace(str(path), "recipe.toml")


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("keep = 0.5", "keeep = 0.5", "recipe.toml, line 11: [prune] has no key 'keeep'; did you mean 'keep'?"),
        ("bins = 2", "bin = 2", "recipe.toml, line 13: [pools] has no key 'bin'; did you mean 'bins'?"),
        ("bins = 2", "keep = 2", "recipe.toml, line 13: [pools] has no key 'keep'; it is a key of [prune]"),
        ("keep = 0.5", "keep = true", "recipe.toml, line 11: keep must be a number"),
        ("keep = 0.5", 'keep = "half"', 'recipe.toml, line 11: keep must be a number, not "half"'),
        ("bins = 2", "bins = 0", "recipe.toml, line 13: bins must be a whole number from 1 up, not 0"),
        ("bins = 2", "bins = 2.5", "recipe.toml, line 13: bins must be a whole number, not 2.5"),
        ("shard-rows = 15", "restart = true", "line 15: restart holds for all steps"),
        ("shard-rows = 15", "shard-rows = 15\nshard_rows = 15", "line 16: shard_rows is written twice"),
        ("[prune]", "[prunes]", "recipe.toml, line 9: there is no table [prunes]; did you mean 'prune'?"),
        ("[data]", "[prune]", "is not TOML"),
        ('paths = ["data"]', "", "recipe.toml, line 2: [data] needs the key 'paths'"),
        ('paths = ["data"]', "paths = 3", "recipe.toml, line 3: paths must be a list of files, folders or globs"),
        ('out = "out"', "keep = 0.5", "recipe.toml, line 1: the key 'keep' stands above the first table"),
        ('scorer = "length"', 'scorer = "prototypes"', "both make score.prototypes"),
        ("keep = 0.5", "keep = 1.5", "recipe.toml, line 11: "),
        ("keep = 0.5", 'keep = 0.5\nrule = "tops"', "recipe.toml, line 12: "),
        ("keep = 0.5", 'keep = 0.5\nrule = "hard"', "line 12: rule = 'hard' does not serve score.length, a quality"),
        ("keep = 0.5", 'keep = 0.5\nbalance = "sources"', "recipe.toml, line 12: "),
        ('by = "score.length"', 'by = "score.prototypes"', "line 10: score.prototypes is a"),
        ('out = "out"', "out = 3", "recipe.toml, line 1: out must be the path of a folder in quotes"),
        ('scorer = "length"', 'scorer = "lenth"', "line 5: unknown scorer 'lenth'; did you mean 'length'?"),
        ('scorer = "length"', "", "recipe.toml, line 4: [[score]] needs the key 'scorer'"),
        ("seed = 3", "sead = 3", "recipe.toml, line 8: prototypes has no option 'sead'; did you mean 'seed'?"),
        ("seed = 3", "k = 3", "recipe.toml, line 8: k stands in the text of `scorer` too"),
        ("seed = 3", 'seed = "three"', "prototypes: seed=three is not a whole number"),
        ("seed = 3", 'embedding = "a,b"', "line 8: the value of embedding holds a comma"),
        ('by = "score.length"', 'by = "score.lenght"', "line 10: by reads 'score.lenght', and no [[score]]"),
        ("keep = 0.5", 'require = ["score.lenght > 3"]', "line 11: require reads 'score.lenght', and no [[score]]"),
        ("keep = 0.5", 'require = ["score.length > "]', "line 11: --require 'score.length > ' is no SQL expression"),
        ("keep = 0.5", 'require = ["SUM(tokens) > 1"]', "line 11: --require 'SUM(tokens) > 1' depends on other rows"),
        ("keep = 0.5", 'require = ["1 = 1"]', "line 11: --require '1 = 1' names no column"),
        ("keep = 0.5", "keep = 0.5\nkeep-rows = 3", "line 11: --keep and --keep-rows exclude each other"),
        ("keep = 0.5", 'cap = ["source"]', "line 11: --cap 'source' is not known. Write COLUMN=ROWS"),
        ("keep = 0.5", 'keep = 0.5\ncap = ["a=1", "a=2"]', "line 12: --cap is given twice for the column 'a'"),
        ("keep = 0.5", "", "line 10: --by score.length ranks all rows, and nothing says how many to keep"),
        ('by = "score.length"\nkeep = 0.5', 'require = ["tokens > 1"]\ntrim = 0.1', "line 11: --trim needs --by"),
        ("shard-rows = 15", "holdout = 1.5", "line 15: --holdout 1.5 must be above 0 and below 1"),
        ("shard-rows = 15", 'holdout-by = "url"', "line 15: --holdout-by url needs --holdout"),
        ("[[score]]\nscorer = \"length\"", "", "by reads 'score.length', and no [[score]] of the recipe adds it"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_line(tmp_path, before, after, told):
    assert before in GOOD
    text = GOOD.replace(before, after, 1)
    assert told in message(tmp_path, text)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('require = ["toknes > 3"]', "names 'toknes', which is no column; did you mean 'tokens'?"),
        ('require = ["meta.lang = 1"]', ""),
        ('require = ["score.length > 3 AND late = 1 AND source = 1"]', ""),
        ('[materialize]\ntag = "sorce"', "line 10: tag = 'sorce' is no column of the data; did you mean 'source'?"),
        ('[materialize]\ntag = "late"\nholdout = 0.1\nholdout_by = "id"', ""),
    ],
)
def test_columns_are_looked_for_in_the_data(tmp_path, line, told):
    rows = ['{"text": "a", "tokens": 1, "meta": {"lang": "en"}}'] * 400 + ['{"text": "a", "late": 1, "source": 2}']
    (tmp_path / "data.jsonl").write_text("\n".join(rows))
    start = 'out = "out"\n[data]\npaths = ["data.jsonl"]\n[[score]]\nscorer = "length"\n'
    text = f'{start}[prune]\nby = "score.length"\nkeep = 0.5\n{line}\n'
    if told:
        assert told in message(tmp_path, text)
    else:
        (tmp_path / "recipe.toml").write_text(text)
        assert read_recipe.read(tmp_path / "recipe.toml").scorers == ("length",)


def test_the_good_recipe_is_good(tmp_path):
    (tmp_path / "recipe.toml").write_text(GOOD)
    recipe = read_recipe.read(tmp_path / "recipe.toml")
    assert recipe.scorers == ("length", "prototypes:k=8,seed=3")
    assert recipe.options["materialize"] == {"shard_rows": 15}


def test_no_recipe_and_no_toml(tmp_path, cli):
    assert "`curate run --init DATA` writes one" in cli("run", tmp_path / "none.toml").err
    assert "is not TOML" in message(tmp_path, "[data\n")
    (tmp_path / "recipe.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(CurateError, match="is not text in UTF-8"):
        curate.run(tmp_path / "recipe.toml")
    assert cli("run", tmp_path).code == 1


KEYS = [(table, name) for table in keys.JOBS for name in keys.keys(table)]


@st.composite
def mistyped(draw):
    """A key of a table with one letter changed, left out or doubled."""
    table, name = draw(st.sampled_from(KEYS))
    place = draw(st.integers(0, len(name) - 1))
    letters = draw(st.sampled_from(["", "x", name[place] * 2]))
    return table, name[:place] + letters + name[place + 1 :]


@given(mistyped())
def test_every_mistyped_key_is_caught(tmp_path_factory, case):
    table, name = case
    if name in (*keys.keys(table), read_recipe.PATHS) or not name:
        return
    folder = tmp_path_factory.mktemp("recipe")
    text = GOOD.replace(f"[{table}]", f"[{table}]\n{name} = 1", 1)
    told = message(folder, text)
    line = next(i for i, row in enumerate(text.splitlines(), 1) if row == f"{name} = 1")
    assert f"recipe.toml, line {line}: " in told
    assert name in told


@pytest.mark.parametrize(("table", "name"), KEYS)
def test_every_value_of_a_wrong_type_is_caught(tmp_path, table, name):
    lines = GOOD.splitlines()
    place = lines.index(f"[{table}]")
    rest = lines[place + 1 :]
    end = next((i for i, line in enumerate(rest) if line.startswith("[")), len(rest))
    others = [line for line in rest[:end] if line.partition(" ")[0].replace("-", "_") != name]
    lines = [*lines[: place + 1], f"{name} = 2026-11-30", *others, *rest[end:]]
    assert f"recipe.toml, line {place + 2}: {name} must be " in message(tmp_path, "\n".join(lines))


@given(st.sampled_from(sorted(option_types("scorers", "prototypes"))), st.sampled_from(["x", "qq"]))
def test_every_mistyped_option_of_a_scorer_is_caught(tmp_path_factory, option, letters):
    text = GOOD.replace("seed = 3", f"{option}{letters} = 3")
    assert f"line 8: prototypes has no option '{option}{letters}'" in message(tmp_path_factory.mktemp("recipe"), text)


@pytest.mark.parametrize("table", keys.JOBS)
def test_the_keys_are_the_flags_of_the_command(table):
    """A flag that is no key of the recipe belongs to the whole run, or the run sets it."""
    names = {flag.removeprefix("--").replace("-", "_") for flag in flags(source(keys.JOBS[table].name))}
    parameters = {key.parameter for key in keys.keys(table).values()}
    of_the_run = OF_THE_COMMAND | keys.JOBS[table].set_by_run
    assert names - of_the_run - parameters <= keys.keys(table).keys()


def test_lines_are_found_below_the_right_table():
    text = '[a]\nx = 1\n[[score]]\nx = 2\n[[score]]\n"x" = 3\n[b] # comment\nx.y = 4\n'
    assert toml_lines.line_of(text, "a", "x") == 2
    assert toml_lines.line_of(text, "score", "x", number=1) == 6
    assert toml_lines.line_of(text, "b") == 7
    assert toml_lines.line_of(text, "b", "x") == 8
    assert toml_lines.line_of(text, "b", "z") is None


@pytest.mark.parametrize("ending", ["\r\n", "\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_files_of_windows_are_read(tmp_path, ending, mark):
    plain, path = tmp_path / "plain.toml", tmp_path / "recipe.toml"
    plain.write_text(GOOD)
    path.write_bytes((mark + GOOD.replace("\n", ending)).encode())
    first, second = read_recipe.read(plain), read_recipe.read(path)
    assert (second.data, second.scorers, second.options) == (first.data, first.scorers, first.options)
    assert "line 11: [prune] has no key 'keeep'" in message(tmp_path, path.read_text().replace("keep =", "keeep ="))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "recipe.toml: [data] is missing: it names the data"),
        ("# nothing\n", "recipe.toml: [data] is missing: it names the data"),
        (f"a = {'[' * 5000}", "recipe.toml is not TOML: its lists lie too deep in each other"),
        (GOOD.replace("keep = 0.5", "keep = 0.5\nkeep = 0.6"), "is not TOML: Cannot overwrite a value (at line 12"),
        (f"{GOOD}[prune]\n", "is not TOML: Cannot declare ('prune',) twice (at line 16"),
    ],
)
def test_an_odd_file_is_one_line(tmp_path, text, told):
    assert told in message(tmp_path, text)


def test_a_recipe_in_memory_may_have_paths_and_tuples():
    tables = {"data": {"paths": (Path("a"), "b")}, "score": ({"scorer": "length"},)}
    recipe = read_recipe.read(tables)
    assert (recipe.data, recipe.scorers) == (("a", "b"), ("length",))


def test_values_may_be_written_as_on_the_command_line(tmp_path):
    text = GOOD.replace("bins = 2", 'min-tokens = "2k"').replace("keep = 0.5", 'keep = "0.5"\nmeaning = ["a=quality"]')
    (tmp_path / "recipe.toml").write_text(text)
    recipe = read_recipe.read(Path(tmp_path / "recipe.toml"))
    assert recipe.options["pools"] == {"min_tokens": 2000.0}
    assert recipe.options["prune"]["meaning"] == {"a": "quality"}
    assert recipe.options["prune"]["keep"] == 0.5


def test_a_key_that_a_job_needs_is_missed(tmp_path):
    required = [key.name for key in keys.keys("prune").values() if key.required]
    if required:
        assert f"[prune] needs the key '{required[0]}'" in message(tmp_path, GOOD.replace('by = "score.length"', ""))


@pytest.mark.skipif("require" not in keys.keys("prune"), reason="prune has no requirements yet")
def test_a_score_that_no_scorer_adds_is_missed_before_scoring(tmp_path):
    text = GOOD.replace("keep = 0.5", 'keep = 0.5\nrequire = ["score.length > 3 AND score.lenght < 4"]')
    assert "line 12: require reads 'score.lenght', and no [[score]]" in message(tmp_path, text)
    (tmp_path / "recipe.toml").write_text(text.replace("score.lenght < 4", "source = 'score.other'"))
    read_recipe.read(tmp_path / "recipe.toml")


def test_a_folder_is_no_recipe(tmp_path, cli):
    line = one_line(cli("run", tmp_path, "--out", tmp_path / "out"))
    assert (
        f"{tmp_path} is a folder, not a recipe. `curate run --init {tmp_path}` writes a recipe for the data in it"
        in line
    )
