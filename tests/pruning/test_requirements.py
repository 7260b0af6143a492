"""Which conditions are accepted, what each means for a row, and the one line about each that is refused."""

import json
import shutil
from pathlib import Path

import polars as pl
import pytest
from conftest import tree
from hypothesis import given
from hypothesis import strategies as st
from score_folders import score_folder

from curate.errors import SchemaError
from curate.pruning.prune import prune
from curate.pruning.requirements.reading import failed_first
from curate.pruning.requirements.requirement import Requirement, check, expression

COLUMNS = ("id", "source", "tokens", "score.length", "score.dsir", "score.duplicates", "meta", "when", "list")


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("score.length > 100", ("score.length",)),
        ("score.length > 1k AND score.length < 2M", ("score.length",)),
        ("score.dsir / tokens > 0.1", ("score.dsir", "tokens")),
        ("meta.lang = 'en'", ("meta",)),
        ("id LIKE 'a%' OR source IN ('web', 'SELECT')", ("id", "source")),
        ("CASE WHEN tokens > 5 THEN true ELSE source = 'a' END", ("source", "tokens")),
        ("LENGTH(id) > 3 AND NOT (tokens BETWEEN 2 AND 3)", ("id", "tokens")),
        ("COALESCE(score.dsir, 0) > ABS(score.length)", ("score.dsir", "score.length")),
        ("list[1] > 2", ("list",)),
        ("\"when\" > DATE '2020-01-01'", ("when",)),
    ],
)
def test_conditions_on_one_row_are_accepted(text, names):
    assert sorted(expression(text, COLUMNS).columns) == sorted(names)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("tokens > ", "is no SQL expression"),
        ("tokens > 1 tokens", "unexpected 'tokens' at its end"),
        ("1 = 1", "names no column"),
        ("id IN (SELECT * FROM read_csv('/etc/passwd'))", "reads a file"),
        ("tokens > (SELECT 1)", "has a subquery"),
        ("EXISTS (select 1)", "has a subquery"),
        ("ROW_NUMBER() OVER (ORDER BY tokens) > 1", "has a window"),
        ("SUM(tokens) OVER (PARTITION BY source) > 1", "has a window"),
        ('NOW() > "when"', "reads the clock"),
        ('CURRENT_DATE > "when"', "reads the clock"),
        ('LOCALTIME > "when"', "reads the clock"),
        ("tokens = ANY(score.length)", "compares with all values of a column"),
        ("MAX(tokens) > 1", "depends on other rows"),
        ("tokens > AVG(tokens)", "depends on other rows"),
        ("COUNT(*) > 1", "depends on other rows"),
        ("tokens > MEDIAN(tokens)", "depends on other rows"),
        ("tokens > QUANTILE_CONT(tokens, 0.5)", "depends on other rows"),
        ("CORR(tokens, score.length) > 0", "depends on other rows"),
        ("STDDEV(tokens) > 1", "depends on other rows"),
        ("ARRAY_AGG(tokens) IS NULL", "depends on other rows"),
        ("FIRST(tokens) > 1", "depends on other rows"),
        ("UNNEST(list) > 1", "makes several rows of one"),
        ("ROW_NUMBER() > 1", "depends on other rows"),
    ],
)
def test_conditions_that_are_refused(text, problem):
    with pytest.raises(SchemaError) as error:
        check([text], COLUMNS)
    message = str(error.value)
    assert problem in message
    assert message.startswith("--require ")
    assert "\n" not in message


VALUES = st.one_of(st.none(), st.integers(-3, 3))


@given(rows=st.lists(st.tuples(VALUES, VALUES), min_size=1, max_size=20))
def test_codes_are_those_of_a_loop_over_rows(rows):
    """Null is neither true nor false, as in SQL, and a row needs true."""
    frame = pl.DataFrame(rows, schema={"score.a": pl.Float64, "score.b": pl.Int64}, orient="row")
    texts = ("score.a > 0", "score.a >= score.b OR score.b = 2", "score.b IS NOT NULL")
    requirements = [Requirement(text, i, ("score.a", "score.b")) for i, text in enumerate(texts, start=1)]

    def code(a, b):
        either = (a is not None and b is not None and a >= b) or b == 2
        checks = (a is not None and a > 0, either, b is not None)
        return next((i for i, met in enumerate(checks, start=1) if not met), 0)

    assert failed_first(requirements, frame, "here").to_list() == [code(a, b) for a, b in rows]


@pytest.mark.parametrize("bound", [0.1, 0.25, 0.7])
def test_a_score_that_equals_a_bound_meets_it(bound):
    frame = pl.DataFrame({"score.a": [bound, 1 - (1 - bound), bound - 1e-12]})
    met = Requirement(f"score.a >= {bound}", 1, ("score.a",)).met(frame, "here")
    assert met.tolist() == [value >= bound for value in frame["score.a"]]


@pytest.fixture
def scores(tmp_path):
    frame = pl.DataFrame(
        {
            "id": [f"r{i}" for i in range(40)],
            "source": ["web", "book"] * 20,
            "tokens": range(1, 41),
            "score.length": [float(i) for i in range(40)],
            "score.bad": [float("nan"), 1.0] * 20,
            "word": ["a", "b"] * 20,
        }
    )
    return score_folder(tmp_path / "scores", frame)


@pytest.mark.parametrize(
    ("require", "problem"),
    [
        (
            ["score.lenth > 3"],
            "names 'score.lenth', which is no column; did you mean 'score.length'? There are",
        ),
        (["toknes > 3"], "names 'toknes', which is no column; did you mean 'tokens'?"),
        (["score.length + 1"], "is Float64 on"),
        (["word"], "is String on"),
        (["score.length > 'x'"], "does not work on"),
        (["tokens > 1", "tokens > 1"], "is given twice"),
        (["kept"], "Write kept = true"),
        (["score.length > 30", "score.length < 9"], "no row of 40 meets all --require"),
    ],
)
def test_the_line_about_bad_input(scores, tmp_path, cli, require, problem):
    flags = [part for text in require for part in ("--require", text)]
    done = cli("prune", scores, *flags, "--out", tmp_path / "kept")
    assert done.code == 1
    assert problem in done.err
    assert done.err.count("\n") == 1
    assert not list(Path(tmp_path / "kept").rglob("*.parquet"))


def test_requirements_that_leave_nothing_say_which_removed_most(scores, tmp_path):
    with pytest.raises(SchemaError, match=r"'score.length < 9' 31, .word = 'c'. 9\. Nothing was written\. Weaken or"):
        prune(scores, tmp_path / "kept", require=["score.length < 9", "word = 'c'"])
    assert not tree(tmp_path / "kept")


def test_nan_is_a_missing_value(scores, tmp_path):
    """Polars sorts NaN above all numbers, so that a row without a score would meet every minimum."""
    pruned = prune(scores, tmp_path / "kept", require=["score.bad > 0.5"])
    assert pruned.removal.total["kept"] == 20


NUMBERS = st.one_of(st.none(), st.sampled_from([0.0, 1.0, -1.0, 2.5, float("nan"), float("inf")]))


@given(rows=st.lists(st.tuples(NUMBERS, NUMBERS), min_size=1, max_size=12))
def test_nan_of_arithmetic_is_a_missing_value(rows):
    """A condition on a value that is not a number is neither true nor false, and nor is its opposite."""
    frame = pl.DataFrame(rows, schema={"score.a": pl.Float64, "score.b": pl.Float64}, orient="row")
    divided = (frame["score.a"] / frame["score.b"]).fill_nan(None)
    names = ("score.a", "score.b")

    def met(text):
        return Requirement(text, 1, names).met(frame, "here").tolist()

    # A quotient of a NaN is one too; fill_nan above sees both.
    for text, expected in [
        ("score.a / score.b > 0.5", divided > 0.5),
        ("NOT (score.a / score.b > 0.5)", divided <= 0.5),
        ("score.a / score.b NOT IN (1, 2)", ~divided.is_in([1.0, 2.0])),
        ("score.a / score.b BETWEEN -1 AND 1", divided.is_between(-1, 1)),
        ("COALESCE(score.a / score.b, 7) = 7", divided.fill_null(7) == 7),
        ("score.a / score.b IS NULL", divided.is_null()),
        ("(score.a / score.b) * 0 >= 0 OR score.a = 1", ((divided * 0).fill_nan(None) >= 0) | (frame["score.a"] == 1)),
    ]:
        assert met(text) == pl.Series(expected).fill_null(value=False).to_list(), text


def test_infinity_is_a_number_above_all_others():
    frame = pl.DataFrame({"tokens": [0, 4], "score.a": [1.0, 1.0]})
    assert Requirement("score.a / tokens > 1", 1, ("score.a", "tokens")).met(frame, "").tolist() == [True, False]
    text = "score.a / NULLIF(tokens, 0) > 0"
    assert Requirement(text, 1, ("score.a", "tokens")).met(frame, "").tolist() == [False, True]


def test_nan_within_structs_and_lists_is_a_missing_value():
    nan = float("nan")
    frame = pl.DataFrame({"meta": [{"x": nan}, {"x": 2.0}], "list": [[nan], [2.0]]})
    for text in ("meta.x > 1", "list[1] > 1", "ARRAY_MEAN(list) > 1", "CAST(meta.x AS FLOAT) > 1"):
        assert Requirement(text, 1, ("meta", "list")).met(frame, "").tolist() == [False, True], text


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({}, "nothing says which rows to keep"),
        ({"by": "score.length"}, "--by score.length ranks all rows, and nothing says how many to keep"),
        ({"require": ["tokens > 1"], "rule": "top", "keep": 0.5}, "--rule top ranks rows by a score. Give --by"),
        ({"require": ["tokens > 1"], "balance": "source"}, "--balance needs --by"),
    ],
)
def test_options_that_do_not_fit_together(scores, tmp_path, options, problem):
    with pytest.raises(SchemaError, match=problem):
        prune(scores, tmp_path / "kept", **options)


def test_the_first_failed_requirement_is_the_reason(scores, tmp_path):
    pruned = prune(scores, tmp_path / "kept", require=["score.length >= 10", "source = 'web'"])
    decisions = pl.concat(pl.read_parquet(path) for path in sorted((tmp_path / "kept").glob("*.keep.parquet")))
    reasons = ["score.length >= 10" if i < 10 else ["kept", "source = 'web'"][i % 2] for i in range(40)]
    assert decisions["reason"].to_list() == reasons
    assert decisions["keep"].to_list() == [reason == "kept" for reason in reasons]
    assert pruned.removal.by_reason_in_all.rows() == [
        ("kept", 15, sum(range(11, 41, 2))),
        ("score.length >= 10", 10, 55),
        ("source = 'web'", 15, sum(range(12, 41, 2))),
    ]
    assert "requirements remove all 20 rows of source 'book'" in " ".join(pruned.warnings)
    assert not list((tmp_path / "kept" / "_curate").glob("requirements*"))


def test_the_ranked_decision_sees_the_remaining_rows_only(scores, tmp_path):
    """It equals the decision about a folder of scores that has no other rows."""
    prune(scores, tmp_path / "kept", require=["source = 'web'"], by="score.length", keep=0.3, rule="middle")
    frame = pl.concat(pl.read_parquet(path) for path in sorted(scores.glob("*.parquet")))
    web = score_folder(tmp_path / "web", frame.filter(pl.col("source") == "web"), cuts=(7,))
    prune(web, tmp_path / "alone", by="score.length", keep=0.3, rule="middle")

    def reasons(folder):
        paths = sorted((tmp_path / folder).glob("*.keep.parquet"))
        frame = pl.concat(pl.read_parquet(path) for path in paths).filter(pl.col("source") == "web")
        return dict(frame.select("id", "reason").iter_rows())

    assert reasons("kept") == reasons("alone")


def test_auto_counts_the_rows_that_meet_the_requirements(scores, tmp_path):
    options = {"by": "score.length", "rule": "auto", "meaning": {"length": "hardness"}, "dimension": 5.0}
    advice = prune(scores, tmp_path / "a", require=["source = 'web'"], keep=0.5, **options).advice
    assert advice.rows == 20
    # 60 of the 400 tokens of its rows: the odd numbers up to 39.
    advice = prune(scores, tmp_path / "b", require=["source = 'web'"], keep_tokens=60, **options).advice
    assert advice.keep == pytest.approx(60 / sum(range(1, 40, 2)))


def test_the_guard_judges_the_ranked_decision_only(scores, tmp_path):
    """Requirements remove 18 of 20 rows of one source, which nobody stops."""
    pruned = prune(
        scores, tmp_path / "kept", require=["source = 'web' OR tokens < 5"], by="tokens", keep=0.9, rule="top"
    )
    assert pruned.removal.total["kept"] == round(0.9 * 22)


def test_a_dry_run_writes_nothing(scores, tmp_path, cli):
    require = ("--require", "score.length > 12", "--require", "word = 'a'", "--by", "tokens", "--keep", 0.5)
    before = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*"))
    dry = cli("prune", scores, *require, "--rule", "top", "--dry-run", "--out", tmp_path / "kept")
    assert dry.code == 0, dry.err
    assert sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*")) == before
    assert "this was a dry run: nothing was written" in dry.out
    wet = cli("prune", scores, *require, "--rule", "top", "--json", "--out", tmp_path / "kept")
    record = json.loads(wet.out)
    for row in record["by_reason"]:
        assert f"{row['reason']} " in dry.out
    # All lines of the real run but its last one, which names a file that it wrote.
    shutil.rmtree(tmp_path / "kept")
    told = cli("prune", scores, *require, "--rule", "top", "--out", tmp_path / "kept").out.splitlines()
    assert told[-1].startswith("pools of what is kept") and dry.out.splitlines()[: len(told) - 1] == told[:-1]
    calm = tree(tmp_path / "kept")
    assert cli("prune", scores, *require, "--rule", "top", "--dry-run", "--out", tmp_path / "kept").code == 0
    assert tree(tmp_path / "kept") == calm
