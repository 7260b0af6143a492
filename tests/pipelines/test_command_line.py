"""The console script: one line for every wrong usage, the nearest name, shell completion, `curate list`."""

import json
import os
import subprocess

import pytest
from conftest import console

from curate import member_help, open_sets
from curate.errors import CurateError
from curate.fitting.choice import without_formula
from curate.fitting.curves import curve_options, downstream, kinds


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["fitt"], "curate: there is no job 'fitt'; did you mean 'fit'? See curate --help"),
        (["fit", "--lwa", "x"], "curate: there is no option --lwa; did you mean '--law'? See curate fit --help"),
        (["fit"], "curate: Missing argument 'runs'. See curate fit --help"),
        (["fit", "x", "--law"], "curate: Option '--law' requires an argument. See curate fit --help"),
        (["qqqqqq"], "curate: there is no job 'qqqqqq'. See curate --help"),
    ],
)
def test_wrong_usage_is_one_line_with_the_nearest_name(cli, words, message):
    result = cli(*words)
    assert (result.code, result.err, result.out) == (2, message + "\n", "")


def test_no_words_print_the_help(cli):
    assert cli().out == cli("--help").out


def test_the_shell_completes_jobs_and_flags():
    def complete(words, position):
        environment = os.environ | {"_CURATE_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": position}
        return subprocess.run(console(), env=environment, capture_output=True, text=True).stdout.split()

    assert complete("curate mat", "1") == ["materialize"]
    assert "--law" in complete("curate fit --l", "2")


@pytest.mark.parametrize("kind", ["scorers", "laws", "encoders", "exports", "trainers", "engines"])
def test_list_names_every_member_and_its_options(cli, kind):
    members = json.loads(cli("list", kind, "--json").out)[kind]
    # These are fitted like laws, and have no file among them.
    others = without_formula.OPTIONS if kind == "laws" else {}
    assert list(members) == sorted([*open_sets.names(kind), *others])
    for name in open_sets.names(kind):
        result = cli("list", kind, name, "--json")
        assert result.code == 0, result.err
        options = json.loads(result.out)["options"]
        assert [row["option"] for row in options] == [option.name for option in member_help.options(kind, name)]


@pytest.mark.parametrize("name", without_formula.OPTIONS)
def test_list_shows_the_options_of_what_is_fitted_without_a_formula(cli, name):
    result = cli("list", "laws", name, "--json")
    options = json.loads(result.out)["options"]
    assert "base" in [row["option"] for row in options]
    assert all(row["meaning"] for row in options)


def test_list_shows_the_curves_apart_from_the_laws(cli):
    """`curate fit --law` takes them, so the list of laws has them too, with their options."""
    record = json.loads(cli("list", "laws", "--json").out)
    assert set(record["curves"]) == set(kinds.CURVES) == set(curve_options.OPTIONS)
    assert not set(record["curves"]) & set(record["laws"])
    laws, curves = cli("list", "laws").out.split("\n\nThese curves are also given to --law")
    assert "multi_power" in curves and "multi_power" not in laws and "mixture_ces" in laws
    for name, summary in record["curves"].items():
        result = cli("list", "laws", name, "--json")
        assert (result.code, json.loads(result.out)["summary"]) == (0, summary)
    (option,) = json.loads(cli("list", "laws", "downstream", "--json").out)["options"]
    assert (option["option"], option["default"]) == ("kind", "'error'")
    assert option["type"].split(" or ") == list(downstream.KINDS)


@pytest.mark.parametrize("name", [name for name in curve_options.OPTIONS if name != "downstream"])
def test_a_curve_without_options_refuses_one(name):
    with pytest.raises(CurateError, match=f"{name} has no option 'kind'. Its options: none"):
        curve_options.parse(f"{name}:kind=error")


def test_a_mistyped_curve_is_suggested(cli):
    for words in (("list", "laws", "multi_pwer"), ("fit", "runs.csv", "--law", "multi_pwer", "--out", "fit.json")):
        assert cli(*words).err.startswith("curate: unknown law 'multi_pwer'; did you mean 'multi_power'?")


def test_list_shows_what_an_option_means(cli):
    lines = cli("list", "scorers", "prototypes").out.splitlines()
    assert lines[1] == "score.prototypes is a hardness score (high is harder)"
    assert lines[3].split() == ["option", "type", "default", "meaning"]
    assert lines[4].split(maxsplit=3) == ["k", "int", "64", "number of prototypes"]


def test_list_rules(cli):
    assert "stratified" in cli("list", "rules").out
    assert "highest scores" in cli("list", "rules", "top").out
    assert "the lowest of an easiness score" in cli("list", "rules", "hard").out
    assert "did you mean 'hard'?" in cli("list", "rules", "hrd").err


def test_list_of_a_mistyped_member_is_one_line(cli):
    result = cli("list", "laws", "mixng")
    assert result.code == 1
    assert result.err.startswith("curate: unknown law 'mixng'; did you mean 'mixing'? Choose one of ces, ")
