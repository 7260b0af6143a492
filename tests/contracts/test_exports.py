"""What every export promises, checked for every file of ``curate/exports`` with a reader of its own format.

The readers stand in ``tests/exports/readers``, one for every export, with the name of its file. A reader has

* ``VARIANTS``: the specifications that are tested, such as ``("mosaic", "mosaic:seq_len=512")``;
* ``read(text, variant)``: (name or None, weight, path) of every pool, read from the text as the trainer reads it;

and, where its format differs from the others,

* ``WITHIN``: by variant, how far weights may lie from the shares of tokens; None if they count something else;
* ``provenance(text, variant)``: (plan, tokens by pool, pools left out), or None where the format can hold none;
* ``holds(variant, path)``: whether the format can hold a path at all.
"""

import importlib
import json
import re
from dataclasses import FrozenInstanceError, replace
from fractions import Fraction
from pathlib import Path

import pytest
from exports.export_samples import export, header_tokens, mixture
from hypothesis import given
from hypothesis import strategies as st

from curate import open_sets

FOLDER = Path(__file__).parent.parent / "exports" / "readers"
NAMES = open_sets.names("exports")
READERS = {
    name: importlib.import_module(f"exports.readers.{name}") for name in NAMES if (FOLDER / f"{name}.py").is_file()
}
VARIANTS = [variant for name in NAMES if name in READERS for variant in READERS[name].VARIANTS]
EVERY = pytest.mark.parametrize("variant", VARIANTS)
ODD = [
    'a "quoted" one',
    "it's = {odd}: #",
    "two\nlines",
    "ü𝄞 \u2028\x85\x7f\ufeff",
    "- &a !!python/object *b",
    "null",
    "1e-05",
    "\\",
]
PLAIN = mixture([7_000_000_001, 2_000_000_000, 999_999_999], left_out=["zero", "none"])


def reader_of(variant):
    return READERS[variant.partition(":")[0]]


def read(variant, text):
    """(name or None, weight, path) of every pool in the file."""
    return reader_of(variant).read(text, variant)


def provenance(variant, text):
    """(plan, tokens by pool, pools left out) that the file states, or None where its format can hold none."""
    if special := getattr(reader_of(variant), "provenance", None):
        return special(text, variant)
    comments = [line for line in text.splitlines() if line.startswith("# ")]
    assert text.splitlines()[: len(comments)] == comments, "the header comes first"
    plan = json.loads(comments[0].removeprefix("# curate export, "))
    left_out = [line for line in comments if line.startswith("# left out, no tokens: ")]
    names = re.findall(r'"(?:[^"\\]|\\.)*"', left_out[0]) if left_out else []
    return plan, header_tokens(text), [json.loads(name) for name in names]


@pytest.mark.parametrize("name", NAMES)
def test_every_export_has_a_reader(name):
    assert name in READERS, (
        f"curate/exports/{name}.py has no reader: write tests/exports/readers/{name}.py with VARIANTS = ({name!r},) "
        "and read(text, variant), which returns (name or None, weight, path) of every pool (see tests/contracts/"
        "test_exports.py)"
    )
    assert {variant.partition(":")[0] for variant in READERS[name].VARIANTS} == {name}


def test_every_reader_has_an_export():
    assert {path.stem for path in FOLDER.glob("*.py")} <= set(NAMES), "delete readers of exports that are gone"


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(open_sets.CurateError, match="unknown export 'nosuch'. Choose one of hf, levanter"):
        export("nosuch")


@EVERY
def test_it_is_frozen_and_says_what_it_writes_and_reads(variant):
    exporter = export(variant)
    assert re.fullmatch(r"\.(txt|json|yaml|py)", exporter.suffix)
    assert exporter.usual.count("{pool}") == 1
    assert all(ending.startswith(".") for ending in exporter.reads)
    with pytest.raises(FrozenInstanceError):
        exporter.suffix = ".x"
    with pytest.raises(open_sets.CurateError, match="has no option 'nosuch'"):
        export(f"{variant.partition(':')[0]}:nosuch=1")


@EVERY
def test_weights_are_the_shares_and_sum_to_one(variant):
    rows = read(variant, export(variant).render(PLAIN))
    assert abs(sum(Fraction(weight) for _, weight, _ in rows) - 1) < 1e-12
    within = getattr(reader_of(variant), "WITHIN", {}).get(variant, 1e-15)
    if within is not None:
        assert [weight for _, weight, _ in rows] == pytest.approx(PLAIN.shares, abs=within)
    assert [path for _, _, path in rows] == [part.paths[0] for part in PLAIN.parts]
    assert [name for name, _, _ in rows] in ([None] * 3, ["p0", "p1", "p2"])


@EVERY
def test_the_file_says_what_it_is_made_from_and_tokens_add_up_exactly(variant):
    stated = provenance(variant, export(variant).render(PLAIN))
    if stated is None:
        return
    plan, tokens, left_out = stated
    assert plan == PLAIN.origin
    assert tokens == {part.pool.name: part.tokens for part in PLAIN.parts}
    assert sum(tokens.values()) == PLAIN.tokens == 10**10
    assert left_out == list(PLAIN.left_out)


@EVERY
def test_pools_without_tokens_are_in_the_provenance_only(variant):
    with_zero, without = (export(variant).render(mixture([10_000, 20_000], left_out=names)) for names in (["zero"], []))
    assert read(variant, with_zero) == read(variant, without)
    assert with_zero.count("zero") == (0 if provenance(variant, with_zero) is None else 1)


@EVERY
def test_the_same_mixture_gives_the_same_text(variant):
    assert export(variant).render(PLAIN) == export(variant).render(replace(PLAIN))


@EVERY
def test_one_pool_is_a_mixture(variant):
    rows = read(variant, export(variant).render(mixture([1000])))
    assert [weight for _, weight, _ in rows] == [1.0]


@EVERY
def test_small_shares_stay_numbers(variant):
    """1e-05 is a string in YAML 1.1."""
    rows = read(variant, export(variant).render(mixture([10**10 - 400_000, 400_000])))
    assert isinstance(rows[1][1], float)
    if getattr(reader_of(variant), "WITHIN", {}).get(variant, 1e-15) is not None:
        assert rows[1][1] == pytest.approx(4e-5, rel=2e-3)


def check_names(variant, names):
    """Any names and paths come back as they were; nothing of them is read as structure."""
    counts = [10**9 + i for i in range(len(names))]
    paths = [(f"data/{i}/{name.strip() or 'x'}.",) for i, name in enumerate(names)]
    holds = getattr(reader_of(variant), "holds", lambda variant, path: True)
    paths = [(path if holds(variant, path) else "".join(path.split()),) for (path,) in paths]
    odd = mixture(counts, names, paths, left_out=["left\nout: [", *names[:1]])
    text = export(variant).render(odd)
    rows = read(variant, text)
    assert [path for _, _, path in rows] == [path for (path,) in paths]
    assert [name for name, _, _ in rows] in ([None] * len(names), names)
    assert abs(sum(Fraction(weight) for _, weight, _ in rows) - 1) < 1e-12
    text.encode()


@EVERY
def test_odd_names_and_paths_come_back(variant):
    check_names(variant, ODD)


@EVERY
@given(names=st.lists(st.text(max_size=20), min_size=1, max_size=5, unique_by=str.lower))
def test_any_names_and_paths_come_back(variant, names):
    check_names(variant, names)


@EVERY
def test_surrogates_do_not_break_the_file(variant):
    """JSON can hold them ("\\ud800"), UTF-8 cannot; Megatron's text form has no escapes, and no names."""
    text = export(variant).render(mixture([5000], ["\ud800x"], [("data/x",)]))
    assert read(variant, text)[0][0] in (None, "\ud800x")
    text.encode()
