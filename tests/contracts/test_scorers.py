"""What every scorer promises, checked for every file of ``curate/scorers``.

A scorer is learned when the first test of it runs, and once: ``-k length`` learns nothing.
"""

import re
import sys
from collections.abc import Sequence
from dataclasses import FrozenInstanceError, fields, replace
from functools import cache
from importlib.util import find_spec
from inspect import cleandoc, signature
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp

import numpy as np
import polars as pl
import pytest
from conftest import documents, tiny_llama
from corpora import corpus_of, with_stored
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from curate import member_help, open_sets
from curate.encoders.hashed import Hashed
from curate.errors import SchemaError
from curate.scorers import duplicates
from curate.scorers.dsir import Dsir
from curate.scoring.renamed import RENAMED, with_name
from curate.scoring.specs import declarations
from curate.tables.meanings import MEANINGS

NAMES = open_sets.names("scorers")
LEARNED = [n for n in NAMES if hasattr(open_sets.module("scorers", n), "learn")]
SMALL = {"k": 4, "iterations": 5, "bits": 14}  # options of learners, where they have them
MISSING = [n for n in NAMES if find_spec(getattr(open_sets.module("scorers", n), "REQUIRES", "curate")) is None]
FROM_FILES = ("contamination",)  # learners that do not read the data
RUN_A_NETWORK = ("attention_influence",)  # scorers that need torch
# Options that a scorer cannot do without, of those that learn nothing.
SPECS = {"expression": "expression:name=expression,meaning=quality,sql=tokens / 2"}
MODELS = np.random.default_rng(1).random((2, 60, 8)) < 0.6  # of 8 models: was the row in training, is the model right


# The lists of the interface.
HARDNESS = (
    *("el2n", "grand", "forgetting", "memorization", "disagreement", "dichotomy", "prototypes", "class_prototypes"),
    "cartography_variability",
)
EASINESS = ("aum", "cartography_confidence", "cartography_correctness", "perplexity")


def class_or_built(name) -> object:
    """The class of a scorer, or where its options decide the meaning, the scorer built with the defaults."""
    cls = open_sets.implementation("scorers", name)
    return built(name) if isinstance(getattr(cls, "meanings", None), property) else cls


def built(name) -> object:
    """A scorer that learns nothing, with the options that it cannot do without."""
    return open_sets.build("scorers", SPECS.get(name, name))


@cache
def folder() -> TemporaryDirectory:
    """A folder for targets and models, removed when the tests end."""
    return TemporaryDirectory()


@cache
def target() -> str:
    """A file of texts that are wanted, with results of models on them."""
    path = Path(folder().name) / "target.parquet"
    documents(12, 900).with_columns(correct=pl.Series(MODELS[1, :12].tolist())).write_parquet(path)
    return str(path)


@cache
def required(name) -> dict[str, object]:
    """Options that a learner cannot do without."""
    if name in ("dsir", "influence"):
        return {"target": target()}
    if name == "contamination":
        return {"against": target()}
    if name == "attention_influence":
        return {"model": tiny_llama(Path(folder().name) / "llama"), "samples": 1}
    if name == "classifier":
        return {"good": target(), "buckets": 1 << 12}
    return {"by": "tokens"} if name == "d2" else {}


def examples(rows: int = 60) -> pl.DataFrame:
    """Rows with every column that the interface names; the first texts are the odd ones."""
    rng = np.random.default_rng(0)
    odd = [None, "", " ", "a", "\n\n", "word " * 60, "ü𝄞\u200b", "x" * 900, "0 1 2\n0 1 2\n0 1 2"]
    frame = documents(rows).with_columns(text=pl.Series(odd + documents(rows)["text"].to_list()[len(odd) :]))
    logits = rng.normal(size=(4, rows, 3)).astype(np.float32)
    shares = np.exp(logits) / np.exp(logits).sum(axis=2, keepdims=True)
    array = pl.Array(pl.Float32, 3)
    return frame.with_columns(
        pl.Series("source", ["ab"[i % 2] for i in range(rows)]),
        pl.Series("tokens", range(1, rows + 1), dtype=pl.Int64),
        pl.Series("label", rng.integers(0, 3, rows)),
        pl.Series("member", MODELS[0, :rows].tolist()),
        pl.Series("correct", MODELS[1, :rows].tolist()),
        pl.Series(
            "emb.hashed", Hashed(32).encode(frame["text"].fill_null("").to_list()), dtype=pl.Array(pl.Float32, 32)
        ),
        *(pl.Series(f"logits.{t}", x, dtype=array) for t, x in enumerate(logits)),
        *(pl.Series(f"probs.{t}", x, dtype=array) for t, x in enumerate(shares)),
    )


ROWS = examples()


def learned(name, rows: pl.DataFrame, cuts: Sequence[int] = ()):
    """Return a scorer that learned from rows that are cut into parts, with what it stored about every part."""
    learn = open_sets.module("scorers", name).learn
    options = {key: value for key, value in SMALL.items() if key in signature(learn).parameters}
    corpus = corpus_of(rows, cuts, Path(mkdtemp(dir=folder().name)))
    if name == "agreement":
        duplicates.learn(replace(corpus, folder=corpus.folder / "_curate" / "duplicates"))
        corpus = replace(corpus, out=corpus.folder)
    return with_stored(learn(corpus, **options, **required(name)), corpus)


@cache
def scorer_of(name):
    """The scorer, learned from the rows as one part if it learns."""
    return learned(name, ROWS) if name in LEARNED else built(name)


def learned_arrays(scorer) -> dict[str, np.ndarray]:
    """Everything that a scorer learned: what all parts share, and what belongs to the rows of a part."""
    return {**scorer.arrays, **{name: getattr(scorer, name) for name in getattr(scorer, "part_arrays", ())}}


def as_bytes(scorer) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in learned_arrays(scorer).items()}


def marked(name):
    skip = pytest.mark.skip(reason=f"the package that scorer {name} needs is an extra")
    return pytest.param(name, marks=skip) if name in MISSING else name


EVERY = pytest.mark.parametrize("name", [marked(n) for n in NAMES])
EVERY_LEARNED = pytest.mark.parametrize("name", [marked(n) for n in LEARNED])


@EVERY
def test_it_is_a_frozen_dataclass_that_says_what_it_reads_and_adds(name):
    scorer = scorer_of(name)
    assert isinstance(scorer.needs, tuple)
    assert scorer.schema
    beginnings = ("score.", "emb.", "cluster.", "logits.", "reason.", "spans.")
    assert all(column.startswith(beginnings) for column in scorer.schema)
    assert set(scorer.needs) <= set(ROWS.columns)
    assert not set(scorer.needs) & set(scorer.schema)
    with pytest.raises(FrozenInstanceError):
        setattr(scorer, fields(scorer)[0].name if fields(scorer) else "x", 1)


@EVERY
def test_its_columns_can_have_another_name(name):
    """So that a job can have the scorer twice. Vectors and predictions keep theirs; `expression` has its own option."""
    scorer, other = scorer_of(name), f"{SPECS.get(name, name)}{',' if name in SPECS else ':'}name=other"
    if name in SPECS:
        assert list(open_sets.build("scorers", "expression:name=other,sql=1").schema) == ["score.other"]
        return
    if not any(column.partition(".")[0] in RENAMED for column in scorer.schema):
        with pytest.raises(SchemaError, match="name=other has no effect"):
            with_name(other, scorer)
        return
    renamed = with_name(other, scorer)
    kept = {column for column in scorer.schema if column.partition(".")[0] not in RENAMED}
    assert set(renamed.schema) & set(scorer.schema) == kept
    assert list(renamed.schema.values()) == list(scorer.schema.values())
    scores = renamed(ROWS)
    assert scores.schema == dict(renamed.schema)
    assert scores.rows() == scorer(ROWS).rows()
    assert list(declarations([renamed]).values()) == list(declarations([scorer]).values())


@EVERY
def test_its_docstring_names_its_columns_and_says_what_high_means(name):
    text = open_sets.implementation("scorers", name).__doc__
    columns = scorer_of(name).schema
    assert all(column.split(".")[0] in text for column in columns)
    first_sentence = text.split("\n\n")[0]
    assert "high" in first_sentence or not any(column.startswith("score.") for column in columns)


@EVERY
def test_each_score_has_a_meaning(name):
    """It is the same before and after learning, so that it can be listed without data."""
    scorer = scorer_of(name)
    scores = [column for column in scorer.schema if column.startswith("score.")]
    declared = declarations([scorer])
    assert list(declared) == scores
    if scores and isinstance(open_sets.implementation("scorers", name).meanings, dict):
        assert member_help.meanings(name) == {column: item.meaning for column, item in declared.items()}


def test_meanings_are_those_of_the_interface():
    """Every score that is neither a hardness nor an easiness is a quality."""
    of_scores = {column: item for name in NAMES for column, item in declarations([class_or_built(name)]).items()}
    by_meaning = {meaning: {c for c, item in of_scores.items() if item.meaning == meaning} for meaning in MEANINGS}
    assert by_meaning["hardness"] == set(map("score.{}".format, HARDNESS))
    assert by_meaning["easiness"] == set(map("score.{}".format, EASINESS))
    assert by_meaning["quality"] == set(of_scores) - by_meaning["hardness"] - by_meaning["easiness"]


def test_only_dsir_is_a_log_weight():
    """And only as the sum over a text, which is the paper's importance weight."""
    assert declarations([Dsir(np.zeros(1))])["score.dsir"].log_weight
    assert not declarations([Dsir(np.zeros(1), normalise=True)])["score.dsir"].log_weight
    assert [n for n in NAMES if hasattr(open_sets.implementation("scorers", n), "log_weights")] == ["dsir"]


@pytest.mark.parametrize("name", NAMES)
def test_its_options_are_explained(name):
    """Those of ``learn``, else of the class: each with its default, in the order in which it takes them."""
    if name in LEARNED:
        explained = open_sets.module("scorers", name).learn
        names = [option for option in signature(explained).parameters if option not in ("stream", "corpus")]
    else:
        explained = open_sets.implementation("scorers", name)
        names = [field.name for field in fields(explained) if field.init]
    text = cleandoc(explained.__doc__)
    section = re.search(r"^Options:\n((?:    .*\n?)+)", text, re.MULTILINE)
    options = re.findall(r"^    (\w+): ((?:.*\n?)(?:        .*\n?)*)", section[1], re.MULTILINE) if section else []
    assert [option for option, _ in options] == names
    assert all("(default" in meaning or "(required)" in meaning for _, meaning in options)


@EVERY
def test_one_finite_row_per_row_and_nothing_else(name):
    scorer = scorer_of(name)
    before = ROWS.clone()
    scores = scorer(ROWS)
    assert scores.schema == dict(scorer.schema)
    assert scores.height == ROWS.height
    assert ROWS.equals(before), "the batch was modified"
    for column in scores.iter_columns():
        if column.dtype == pl.String:  # the reason of a verdict; a row that passes has none
            continue
        assert column.null_count() == 0
        # Spans are lists of whole numbers.
        assert column.name.startswith("spans.") or np.isfinite(column.to_numpy()).all()


@EVERY
@settings(max_examples=12)
@given(cuts=st.lists(st.integers(0, ROWS.height), max_size=6).map(sorted), order=st.permutations(range(ROWS.height)))
def test_batching_and_row_order_do_not_matter(name, cuts, order):
    """Vector products may round by the size of the batch; everything else is exact."""
    scorer = scorer_of(name)
    whole = scorer(ROWS)
    edges = [0, *cuts, ROWS.height]
    mixed = ROWS[list(order)]
    parts = [scorer(mixed[a:b]) for a, b in zip(edges, edges[1:], strict=False)]
    exact = not any(column.startswith("emb.") for column in scorer.needs)
    assert_frame_equal(pl.concat(parts), whole[list(order)], check_exact=exact, abs_tol=1e-6)


@EVERY
def test_it_reads_only_the_columns_it_needs(name):
    scorer = scorer_of(name)
    assert scorer(ROWS.select("id", *scorer.needs)).equals(scorer(ROWS))


@EVERY
def test_an_empty_batch_gives_an_empty_frame(name):
    scores = scorer_of(name)(ROWS[:0])
    assert scores.height == 0
    assert scores.schema == dict(scorer_of(name).schema)


@EVERY
def test_options_are_checked(name):
    if name not in LEARNED:
        with pytest.raises(open_sets.CurateError, match="has no option 'nosuch'"):
            open_sets.build("scorers", f"{name}:nosuch=1")


@EVERY_LEARNED
def test_learning_does_not_depend_on_the_order_of_the_rows(name):
    turned = learned(name, ROWS[::-1], (7, 30, 37))
    assert_frame_equal(scorer_of(name)(ROWS), turned(ROWS), abs_tol=1e-6)


@EVERY_LEARNED
@pytest.mark.parametrize("cuts", [(), (1, 16, 17, 40), (20, 20)], ids=["one part", "5 parts", "an empty part"])
def test_learning_from_any_parts_gives_the_same_arrays(name, cuts):
    assert as_bytes(learned(name, ROWS, cuts)) == as_bytes(scorer_of(name))


@EVERY_LEARNED
def test_what_was_learned_survives_the_disk(name, tmp_path):
    scorer = scorer_of(name)
    assert learned_arrays(scorer)
    np.savez(tmp_path / "learned.npz", **learned_arrays(scorer))
    with np.load(tmp_path / "learned.npz", allow_pickle=False) as saved:
        options = {k: v for k, v in required(name).items() if k in {f.name for f in fields(scorer)}}
        again = type(scorer)(**dict(saved.items()), **options)
    assert again(ROWS).equals(scorer(ROWS))


@pytest.mark.parametrize("name", [marked(n) for n in LEARNED if n not in FROM_FILES])
def test_too_few_rows_is_one_clear_line(name):
    with pytest.raises(open_sets.CurateError) as caught:
        learned(name, ROWS[:0])
    assert "\n" not in str(caught.value)


def test_scorers_that_run_no_network_work_without_torch(without_torch):
    """Imported, learned and run in a process where torch cannot be imported."""
    names = [name for name in NAMES if name not in (*MISSING, *RUN_A_NETWORK)]
    code = (
        "import sys\n"
        f"sys.path[:0] = {[str(Path(__file__).parent), str(Path(__file__).parents[1])]!r}\n"
        "import test_scorers\n"
        f"for name in {names!r}: test_scorers.scorer_of(name)(test_scorers.ROWS)\n"
        f"for name in {RUN_A_NETWORK!r}: test_scorers.open_sets.module('scorers', name)\n"
    )
    run = without_torch(sys.executable, "-c", code)
    assert run.returncode == 0, run.stderr
