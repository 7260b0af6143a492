"""Names of pools, evals and classes in options: which of them can be written, and how."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate import written_names
from curate.pool.mixture_rules import MixtureRule
from pipelines.plan import options
from pipelines.shared import flags, mixtures

NAMES = st.text(alphabet='ab,="; .é\n', max_size=8)


def quoted(name):
    return '"' + name.replace('"', '""') + '"'


@given(st.lists(NAMES, min_size=1, max_size=4, unique=True))
def test_every_list_of_names_can_be_written_in_quotes(names):
    assert written_names.names(",".join(map(quoted, names))) == names
    pairs = ",".join(f"{quoted(name)}=0.5" for name in names)
    assert [written_names.valued(item) for item in written_names.split(pairs)] == [(name, "0.5") for name in names]
    assert flags.pairs([f"{quoted(name)}=0.5" for name in names], "--min-weight") == dict.fromkeys(names, 0.5)


@pytest.mark.parametrize(
    "text, name, value",
    [
        ("web=0.3", "web", "0.3"),
        ("lang=de=0.3", "lang=de", "0.3"),
        ("a/lang=de/x=y=1e-3", "a/lang=de/x=y", "1e-3"),
        ('"a,b"=0.3', "a,b", "0.3"),
        ('"lang=2"', "lang=2", None),
        ("web", "web", None),
        ('5"=0.3', '5"', "0.3"),
        ("=0.3", "", "0.3"),
        ('""=0.3', "", "0.3"),
    ],
)
def test_a_number_stands_after_the_last_equals_sign(text, name, value):
    assert written_names.valued(text) == (name, value)


@pytest.mark.parametrize("text", ["web", "web=", "=0.3", "web=x", "lang=de", "web=0.3=", ""])
def test_what_is_no_pair_is_wrong_usage(text):
    with pytest.raises(Exception, match=r"is not NAME=NUMBER") as caught:
        flags.pairs([text], "--min-weight")
    assert type(caught.value).__name__ == "BadParameter"


def test_a_name_twice_is_wrong_usage():
    with pytest.raises(Exception, match="'lang=de' is given twice"):
        flags.pairs(["lang=de=0.1", '"lang=de"=0.2'], "--min-weight")


@pytest.mark.parametrize(
    "text, mixture",
    [
        ("lang=de=0.7,lang=en=0.3", {"lang=de": 0.7, "lang=en": 0.3}),
        ('"a, b"=0.7,"c""d"=0.3', {"a, b": 0.7, 'c"d': 0.3}),
        ("tau=de=1", {"tau=de": 1.0}),
        ('"tau"=1', {"tau": 1.0}),
        ("plan=0=1", {"plan=0": 1.0}),
        ("tau=3", MixtureRule("tau", 3.0)),
        ("plan=1", MixtureRule("plan", 1)),
        ("proportional", MixtureRule("proportional")),
    ],
)
def test_mixtures_of_pools_with_any_name(text, mixture):
    assert mixtures.parse(text, "--prior") == mixture


def test_lists_of_pools_and_evals_of_plan():
    group = options._group('"a,b",lang=de,c*<=0.3')
    assert (group.pools, group.high) == (("a,b", "lang=de", "c*"), 0.3)
    assert options._group("a<=b<=0.3").pools == ("a<=b",)
    assert options._ordered('lang=de,"a,b"') == ("lang=de", "a,b")
    assert options.target('web=2,code,"n=2"') == {"web": 2.0, "code": 1.0, "n=2": 1.0}
    assert options.two_evals('"a,b",c') == ("a,b", "c")
    with pytest.raises(Exception, match=r"'lang=de' is not NAME=NUMBER; put a name that .* in double quotes"):
        options.target("lang=de,web")
