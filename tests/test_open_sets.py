"""Members of open sets: of our own folders, of a user's file, of an installed package; near names are suggested."""

import pickle
import subprocess
import sys
from importlib.metadata import EntryPoint
from types import ModuleType

import pytest

from curate import member_help, open_sets
from curate.errors import CurateError, SchemaError
from curate.member_help import Option

OWN = '''
"""A scorer of a user."""
from dataclasses import dataclass
import polars as pl

@dataclass(frozen=True)
class Vowels:
    """Count the vowels of a text. More is better."""

    weight: float = 1.0
    needs = ("text",)
    schema = {"score.vowels": pl.Float64()}

    def __call__(self, batch):
        return batch.select((self.weight * pl.col("text").str.count_matches("[aeiou]")).alias("score.vowels"))
'''


@pytest.fixture
def own(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(OWN)
    return f"{path}:Vowels"


def test_a_users_class_is_built_with_options(own):
    scorer = open_sets.build("scorers", f"{own}:weight=2")
    assert (type(scorer).__name__, scorer.weight) == ("Vowels", 2)
    assert open_sets.build("scorers", own).weight == 1.0
    assert open_sets.is_own(own)
    assert not open_sets.is_own("length")


def test_another_process_rebuilds_a_users_class(own, tmp_path):
    (tmp_path / "pickled").write_bytes(pickle.dumps(open_sets.build("scorers", f"{own}:weight=3")))
    code = "import pickle, sys; print(pickle.load(open(sys.argv[1], 'rb')).weight)"
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "pickled"], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "3"


def test_a_users_scorer_works_from_the_command_line(own, corpus, tmp_path, cli):
    import polars as pl

    result = cli("score", corpus, "--scorer", f"{own}:weight=2", "--workers", 2, "--out", tmp_path / "scores")
    assert result.code == 0, result.err
    scores = pl.read_parquet(tmp_path / "scores" / "**" / "*.scores.parquet")
    assert scores.height == 100
    assert scores["score.vowels"].min() > 0


def test_a_users_law_works_from_the_command_line(tmp_path, cli):
    import numpy as np
    import polars as pl

    source = (
        (open_sets.ROOT / "laws" / "chinchilla.py")
        .read_text(encoding="utf-8")
        .replace("class Chinchilla", "class Twin")
    )
    (tmp_path / "law.py").write_text(source)
    rng = np.random.default_rng(0)
    tokens, params = 10 ** rng.uniform(7, 9, 24), 10 ** rng.uniform(6, 8, 24)
    runs = pl.DataFrame({"run": [str(i) for i in range(24)], "params": params, "tokens": tokens})
    runs.with_columns(pl.Series("loss.web", 1.7 + 400 / params**0.34 + 410 / tokens**0.28)).write_csv(
        tmp_path / "runs.csv"
    )
    thetas = []
    for law in ("chinchilla", f"{tmp_path}/law.py:Twin"):
        out = tmp_path / "fit.json"
        arguments = ("fit", tmp_path / "runs.csv", "--law", law, "--eval", "web", "--draws", 5, "--out", out)
        result = cli(*arguments)
        assert result.code == 0, result.err
        assert cli("predict", out, tmp_path / "runs.csv", "--out", tmp_path / "predicted.parquet").code == 0
        thetas.append(pl.read_parquet(tmp_path / "predicted.parquet")["predicted"].to_list())
    assert thetas[0] == thetas[1]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x = (", "cannot be imported: SyntaxError"),
        ("import sys; sys.exit(3)", "cannot be imported: SystemExit: 3"),
        ("class Other: pass", "unknown class 'Vowels'. Choose one of Other"),
        ("class Vowels: pass", "Vowels is not a dataclass"),
        ("from pathlib import Path\nclass Other: pass", "Choose one of Other$"),
        ("x = 1", "unknown class 'Vowels'. There is none to choose from$"),
    ],
)
def test_a_users_file_that_does_not_work_is_one_line(tmp_path, text, words):
    (tmp_path / "mine.py").write_text(text)
    with pytest.raises(CurateError, match=words):
        open_sets.build("scorers", f"{tmp_path}/mine.py:Vowels")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(CurateError, match=r"no such file: .*nosuch.py. A class of your own is named"):
        open_sets.build("laws", f"{tmp_path}/nosuch.py:Law")


def test_an_installed_package_adds_a_name(monkeypatch):
    point = EntryPoint("twin", "curate.scorers.length:Length", "curate.scorers")

    def points(group, name=None):
        return [point] if group == "curate.scorers" and name in (None, "twin") else []

    monkeypatch.setattr(open_sets, "entry_points", points)
    assert open_sets.installed("scorers") == ("twin",)
    assert type(open_sets.build("scorers", "twin")).__name__ == "Length"


@pytest.mark.parametrize(
    ("folder", "spec", "words"),
    [
        ("scorers", "lenght", "unknown scorer 'lenght'; did you mean 'length'?"),
        ("laws", "chincilla", "unknown law 'chincilla'; did you mean 'chinchilla'?"),
        ("scorers", "qqqqqq", "unknown scorer 'qqqqqq'. Choose one of agreement"),
        ("encoders", "hashed:widht=3", "hashed has no option 'widht'; did you mean 'width'?"),
    ],
)
def test_a_mistyped_name_gets_the_nearest_one(folder, spec, words):
    with pytest.raises(CurateError) as error:
        open_sets.build(folder, spec)
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("spec", "words"),
    [("hashed:width=3.0", "width=3.0 is not a whole number: write 3"), ("hashed:width=x", "is not a whole number")],
)
def test_an_option_of_the_wrong_type(spec, words):
    with pytest.raises(SchemaError, match=words):
        open_sets.build("encoders", spec)


def test_specs_are_split_at_the_commas_between_names():
    specs = "ces,utility:form=x,y=2,own/law.py:Mine:a=1,b=2,mixing"
    assert open_sets.split(specs) == ["ces", "utility:form=x,y=2", "own/law.py:Mine:a=1,b=2", "mixing"]
    assert open_sets.parse("own/law.py:Mine:a=1,b=x") == ("own/law.py:Mine", {"a": 1, "b": "x"})


def test_options_of_a_learner_are_those_of_its_learning():
    assert "k" in {option.name for option in member_help.options("scorers", "prototypes")}
    meaning = "number of buckets, the length of a vector"
    assert member_help.options("encoders", "hashed") == (Option("width", "int", "256", meaning),)


def test_a_file_without_its_class_is_told_so(tmp_path):
    with pytest.raises(CurateError, match=r"mine.py is a file: add the name of its class, .*mine.py:ClassName"):
        open_sets.build("scorers", f"{tmp_path}/mine.py")


def test_a_class_that_is_not_named_after_its_file_is_told_the_rule(monkeypatch):
    holder = ModuleType("curate.laws.tokenpower")
    holder.__file__ = "tokenpower.py"
    holder.TokenPower = type("TokenPower", (), {"__module__": holder.__name__})
    monkeypatch.setattr(open_sets, "module", lambda folder, name: holder)
    with pytest.raises(CurateError) as error:
        open_sets.build("laws", "tokenpower")
    assert str(error.value) == (
        "tokenpower.py: unknown class 'Tokenpower'; did you mean 'TokenPower'? Choose one of TokenPower. "
        "The class of tokenpower.py is named Tokenpower, and that of my_own.py MyOwn"
    )


def test_an_option_has_the_meaning_that_its_docstring_gives():
    unit, _ = member_help.options("scorers", "length")
    assert unit.type == "character or word or token"
    assert unit.meaning.startswith("character, for Unicode characters")
    meanings = {option.name: option.meaning for option in member_help.options("scorers", "prototypes")}
    assert meanings["k"] == "number of prototypes"
    # A meaning of two lines is one line, and a default that is no plain value stays.
    assert meanings["start"].endswith("which is faster")
    meanings = {option.name: option.meaning for option in member_help.options("scorers", "perplexity")}
    assert meanings["target"].endswith("(default: the data itself)")


def test_what_a_job_gives_to_a_trainer_is_no_option():
    assert [option.name for option in member_help.options("trainers", "linear")] == ["strength"]


@pytest.mark.parametrize("folder", ["scorers", "encoders", "exports", "trainers", "engines"])
def test_every_option_has_a_meaning(folder):
    unexplained = [
        f"{name}: {option.name}"
        for name in open_sets.names(folder)
        for option in member_help.options(folder, name)
        if not option.meaning
    ]
    assert unexplained == []


@pytest.mark.parametrize("folder", ["scorers", "laws", "encoders", "exports", "trainers", "engines"])
def test_every_member_has_a_summary_of_one_sentence(folder):
    for name in open_sets.names(folder):
        sentence = member_help.summary(folder, name)
        assert sentence.endswith((".", ":")), f"{folder} {name}: {sentence!r}"
