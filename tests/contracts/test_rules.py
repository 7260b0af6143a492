"""What every pruning rule promises. The rules are the files of their folder."""

from dataclasses import FrozenInstanceError, fields
from pathlib import Path

import pytest

from curate import open_sets
from curate.errors import SchemaError
from curate.pruning import rules
from curate.pruning.rules import RULES, Rule, rule_class
from curate.tables.meanings import MEANINGS
from pipelines import prune as command

FILES = sorted(path.stem for path in Path(rules.__file__).parent.glob("*.py") if path.stem[0] != "_")
FLAGS = {f"--{name.replace('_', '-')}" for name in command.main.__annotations__}


def built(name: str) -> Rule:
    cls = rule_class(name)
    return cls.of_amounts({"share": 0.5}, meaning=(cls.serves or MEANINGS)[0])


def test_every_file_of_the_folder_is_in_the_table():
    assert sorted(RULES) == FILES


@pytest.mark.parametrize("name", FILES)
def test_a_rule_is_named_as_its_file_and_its_class(name):
    assert RULES[name].name == name
    assert RULES[name].__name__ == open_sets.class_name_of(name)
    assert RULES[name].__module__.rpartition(".")[2] == name


@pytest.mark.parametrize("name", FILES)
def test_a_rule_says_what_it_keeps_and_which_options_are_its_own(name, cli):
    rule = RULES[name]
    assert rule.summary.endswith(".")
    assert set(rule.serves) <= set(MEANINGS)
    assert set(rule.options) <= FLAGS
    shown = cli("list", "rules", name).out
    assert rule.summary in " ".join(shown.split())
    assert all(option in shown for option in rule.options)


@pytest.mark.parametrize("name", FILES)
def test_a_rule_is_frozen_and_has_words_for_its_rows(name):
    rule = built(name)
    with pytest.raises(FrozenInstanceError):
        rule.seed = 1
    assert "score.x" in rule.sentence("score.x")
    assert name in rule.sentence("score.x")
    assert rule.dropped_reason("score.x") == f"{name}: score.x"


@pytest.mark.parametrize("name", FILES)
def test_a_rule_keeps_its_settings(name):
    cls = RULES[name]
    settings = {"meaning": (cls.serves or MEANINGS)[0], "seed": 7, "trim": 0.1 if cls.trims else 0.0}
    rule = cls.of_amounts({"share": 0.5}, **settings)
    assert {field.name: getattr(rule, field.name) for field in fields(rule) if field.name in settings} == settings


@pytest.mark.parametrize("name", FILES)
def test_a_rule_that_does_not_trim_refuses_to(name):
    if not RULES[name].trims:
        with pytest.raises(SchemaError, match="--trim is for the rules hard"):
            RULES[name].of_amounts({"share": 0.5}, trim=0.1)
