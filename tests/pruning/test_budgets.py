"""Budgets of rows and tokens, and caps, in tiny pieces on disk, against a sort of all rows in memory."""

import json

import numpy as np
import polars as pl
import pytest
from conftest import one_line
from hypothesis import given, settings
from hypothesis import strategies as st
from prune_in_memory import Scores, decide
from score_folders import JOB

from curate.engines.local import Local
from curate.errors import SchemaError
from curate.pruning import rule_options, rules
from curate.pruning.columns import first_reading
from curate.pruning.columns.row_table import FILE_STEP
from curate.pruning.columns.value_hashes import MISSING_SEED, VALUE_SEED
from curate.pruning.eligible import CODES, Eligible
from curate.pruning.ranking import external_sort
from curate.pruning.rule_options import RuleOptions
from curate.pruning.rules import _decide, _ranked_rows
from curate.tables import batches
from curate.tables import scored as score_files

BALANCES = ("none", "source:0.8", "label:even", "label:recall", "dbp:0.1:1")
RULES = {"top": "quality", "hard": "easiness", "easy": "easiness", "middle": None, "stratified": None, "sample": None}
BUDGETS = {"keep": 0.3, "keep_rows": 37, "keep_tokens": 700}
CAPS = ((), ("conversation=2",), ("source=400tokens", "conversation=even"), ("score.x=even",))


def rows(n, seed=0, ties=True) -> pl.DataFrame:
    """Rows with ties, rows without tokens, rows larger than a budget, missing conversations, and two equal ids."""
    rng = np.random.default_rng(seed)
    group = rng.choice(4, n, p=[0.55, 0.25, 0.15, 0.05])
    score = rng.normal(size=n)
    conversation = [None if c == 0 else f"c{c}" for c in rng.integers(0, n // 3 + 1, n)]
    tokens = np.where(rng.random(n) < 0.1, 0, rng.integers(1, 40, n))
    tokens[rng.integers(0, n)] = 900
    return pl.DataFrame(
        {
            "id": [f"r{i % max(1, n - 2)}" for i in range(n)],
            "source": np.array(list("abcd"))[group],
            "tokens": tokens,
            "label": np.array(["x", "y", "z"])[rng.integers(0, 3, n)],
            "cluster.density": group.astype(np.int32),
            "score.density": np.array([0.1, 0.2, 0.3, 0.15])[group],
            "score.x": score.round(1) if ties else score,
            "conversation": conversation,
        },
        schema_overrides={"conversation": pl.String},
    )


def folder(out, frame, cuts=(), meaning=None):
    """A score folder of these rows, cut into files."""
    edges = [0, *sorted(cuts), frame.height]
    for i, (a, b) in enumerate(zip(edges[:-1], edges[1:], strict=True)):
        fields = {"meanings": {"score.x": meaning}} if meaning else {}
        batches.write(out / f"{i:03d}.parquet.scores.parquet", [frame[a:b]], schema=frame.schema, fields=fields)
    (out / "_curate").mkdir(parents=True)
    (out / "_curate" / "score.json").write_text(json.dumps(JOB))
    return out


def decided(tmp_path, scores, options, eligible=None, chunk=1 << 18):
    """Return the reasons of all ranked rows."""
    shards = score_files.score_files(scores)
    with pytest.MonkeyPatch.context() as patch:
        for module in (external_sort, _decide, _ranked_rows):
            patch.setattr(module, "chunk_rows", lambda _: chunk)
        patch.setattr(score_files, "LIGHT_ROWS", 7 if chunk < 100 else 1 << 15)
        _, rule = rule_options.choose(options, shards, Local())
        work = tmp_path / "work"
        work.mkdir()
        column = first_reading.look(
            shards,
            options.by,
            rule_options.group_column(rule, shards),
            folder=work,
            engine=Local(),
            seed=options.seed,
            complexity=rule.balance.how == "dbp",
            capped=[cap.column for cap in options.caps],
            eligible=eligible,
        )
        decision = rules.decide(column, rule, options.caps)
        verdicts = decision.of(pl.DataFrame({"x": np.zeros(column.rows)}), 0)
    return rule, column, [decision.reasons[verdict] for verdict in verdicts]


def written(column):
    """Return the values of a column as they are told apart: 1.0 is 1, and -0.0 is 0."""
    return column.cast(pl.String).str.strip_suffix(".0").str.replace("^-0$", "0").to_list()


def by_brute_force(frame, rule, column, options):
    """Return the reasons of all rows by the oracle."""
    grouping = column.values.grouping
    names = list(column.groups)
    group = [names.index(str(name)) for name in frame[grouping]] if grouping else [0] * frame.height
    complexity = (
        tuple(frame.filter(pl.col(grouping).cast(pl.String) == n)["score.density"][0] for n in names)
        if (rule.balance.how == "dbp")
        else ()
    )
    key = batches.keys(frame["id"], options.seed)
    score = frame[options.by].to_numpy() if options.by else np.zeros(frame.height)
    values = tuple(written(frame[cap.column]) for cap in options.caps)

    def hashes(value):
        if isinstance(value, tuple):  # a row without a value
            i = int(value[1])
            return (int(batches.keys([frame["id"][i]], MISSING_SEED)[0]) + place(i)) % 2**64
        return int(batches.keys([value], VALUE_SEED)[0])

    def place(i):
        part = max((part for part in column.ranges if part.start <= i), key=lambda part: (part.start, part.number))
        return i - part.start + part.number * FILE_STEP

    whole = Scores(score, key, np.array(group), frame["tokens"].to_numpy(), tuple(names), complexity, values)
    result = decide(whole, rule, options.caps, hashes)
    reasons = []
    for i in range(frame.height):
        if result.removed_first[i]:
            reasons.append(rule.removed_first_reason(options.by))
        elif result.capped[i] >= 0:
            reasons.append(f"cap: {options.cap[result.capped[i]]}")
        elif result.by_floor[i]:
            reasons.append(f"kept: floor of its {rule.balance.kind}")
        else:
            reasons.append("kept" if result.keep[i] else rule.dropped_reason(options.by))
    return reasons


def compare(tmp_path, frame, cuts, meaning, chunk, **options):
    scores = folder(tmp_path / "scores", frame, cuts, meaning)
    recall = {"x": 0.9, "y": 0.5, "z": 0.7} if options.get("balance") == "label:recall" else None
    settings = RuleOptions(by="score.x", recall=recall, **options)
    rule, column, reasons = decided(tmp_path, scores, settings, chunk=chunk)
    assert reasons == by_brute_force(frame, rule, column, settings)
    return frame.with_columns(reason=pl.Series(reasons))


@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize("balance", BALANCES)
@pytest.mark.parametrize("rule", RULES)
def test_every_rule_balance_and_budget_is_as_by_brute_force(tmp_path, rule, balance, budget):
    options = {"rule": rule, "balance": balance, budget: BUDGETS[budget]}
    frame = compare(tmp_path, rows(150), (40, 41, 110), RULES[rule], 16, **options)
    kept = frame.filter(pl.col("reason").str.starts_with("kept"))
    if budget == "keep_tokens":
        assert kept["tokens"].sum() <= 700
    elif balance != "label:recall":
        assert kept.height == (37 if budget == "keep_rows" else 45)


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(1, 60),
    seed=st.integers(0, 99),
    chunk=st.sampled_from([1, 5, 1 << 18]),
    rule=st.sampled_from([*sorted(RULES), "threshold"]),
    caps=st.sampled_from(CAPS),
    trim=st.sampled_from(["0", "0.2"]),
    budget=st.sampled_from(sorted(BUDGETS)),
    share=st.floats(0.01, 1),
    data=st.data(),
)
def test_budgets_and_caps_are_as_by_brute_force(
    tmp_path_factory, n, seed, chunk, rule, caps, trim, budget, share, data
):
    frame, path = rows(n, seed), tmp_path_factory.mktemp("case")
    amount = {
        "keep": share,
        "keep_rows": max(1, int(share * n)),
        "keep_tokens": max(1, int(share * frame["tokens"].sum())),
    }
    options = {"rule": rule, "cap": caps, budget: amount[budget], "seed": seed % 3}
    meaning = RULES.get(rule)
    if rule == "threshold":
        options = {"rule": rule, "keep": 0.2, "cap": tuple(cap for cap in caps if "even" not in cap)}
    elif meaning in ("hardness", "easiness") and budget != "keep":
        options["trim"] = trim
    cuts = data.draw(st.lists(st.integers(0, n), max_size=3))
    try:
        compare(path, frame, cuts, meaning, chunk, **options)
    except SchemaError as error:
        assert " asks for " in str(error)  # a budget above what caps or trimming leave
        assert "trim" in options or not all(cap.endswith("=even") for cap in options["cap"])


def test_groups_of_1_2_5_and_100_rows_at_20_rows_give_1_2_5_and_12(tmp_path, cli):
    sizes = {"p": 1, "q": 2, "r": 5, "s": 100}
    names = [name for name, size in sizes.items() for _ in range(size)]
    frame = rows(108).with_columns(domain=pl.Series(names))
    scores = folder(tmp_path / "scores", frame, (30,))
    done = cli("prune", scores, "--keep-rows", 20, "--cap", "domain=even", "--out", tmp_path / "kept", "--json")
    assert done.code == 0, done.err
    kept = frame.with_columns(keep=decisions(tmp_path / "kept")["keep"]).filter("keep")
    assert dict(kept.group_by("domain").len().iter_rows()) == {"p": 1, "q": 2, "r": 5, "s": 12}
    reasons = decisions(tmp_path / "kept").filter(~pl.col("keep"))["reason"].unique().to_list()
    assert reasons == ["cap: domain=even"]


@pytest.mark.parametrize("budget", [100, 101, 1234, 2500, 3079])
def test_an_even_cap_in_tokens_ends_before_the_rows_that_would_cross(tmp_path, cli, budget):
    tokens = [40 if i % 3 == 0 else 3 for i in range(200)]
    frame = rows(200).with_columns(tokens=pl.Series(tokens), domain=pl.Series([i % 4 for i in range(200)]))
    assert sum(tokens) == 3079
    scores = folder(tmp_path / "scores", frame, (30,))
    words = ("--keep-tokens", budget, "--cap", "domain=even", "--out", tmp_path / "kept", "--json")
    done = cli("prune", scores, *words)
    assert done.code == 0, done.err
    kept = frame.with_columns(keep=decisions(tmp_path / "kept")["keep"]).filter("keep")
    counts = kept.group_by("domain").agg(pl.col("tokens").sum())["tokens"]
    # Values differ by less than one row, 40 tokens, and each lacks less than one.
    assert budget - 4 * 40 < counts.sum() <= budget
    assert budget == 3079 or counts.max() - counts.min() <= 40


def decisions(kept) -> pl.DataFrame:
    return pl.concat([pl.read_parquet(path) for path in sorted(kept.glob("*.keep.parquet"))])


def test_a_cap_of_tokens_leaves_the_budget_to_other_sources(tmp_path, cli):
    frame = rows(400, ties=False)
    scores = folder(tmp_path / "scores", frame, (100,), "quality")
    words = ("--by", "score.x", "--keep-tokens", "2k", "--cap", "source=900tokens", "--max-source-removal", 1)
    done = cli("prune", scores, *words, "--out", tmp_path / "kept")
    assert done.code == 0, done.err
    verdict = decisions(tmp_path / "kept")
    kept = frame.with_columns(verdict["keep"]).filter("keep")
    assert max(kept.group_by("source").agg(pl.col("tokens").sum())["tokens"]) <= 900
    # The next row of the order would cross the budget.
    free = frame.filter(verdict["reason"] == "top: score.x").sort("score.x", descending=True)
    assert kept["tokens"].sum() <= 2000 < kept["tokens"].sum() + free["tokens"][0]
    assert kept["score.x"].min() > free["score.x"][0]
    assert "cap: source=900tokens" in verdict["reason"].to_list()


def test_a_cap_alone_keeps_rows_at_random_and_rows_without_a_value(tmp_path, cli):
    frame = rows(300)
    scores = folder(tmp_path / "scores", frame)
    done = cli("prune", scores, "--cap", "conversation=1", "--out", tmp_path / "kept", "--max-source-removal", 1)
    assert done.code == 0, done.err
    kept = frame.with_columns(decisions(tmp_path / "kept")["keep"]).filter("keep")
    counts = dict(kept.group_by("conversation").len().iter_rows())
    assert counts.pop(None) == frame["conversation"].null_count()
    assert set(counts.values()) == {1}
    assert len(counts) == frame["conversation"].drop_nulls().n_unique()


@pytest.mark.parametrize("budget", BUDGETS)
def test_rows_that_fail_a_requirement_are_as_if_they_were_not_there(tmp_path, budget):
    frame = rows(120)
    codes = np.random.default_rng(5).integers(0, 3, 120).astype(np.uint16)
    fit = frame.filter(codes == 0)
    options = RuleOptions(
        by="score.x",
        rule="top",
        balance="source",
        cap=("source=400tokens",),
        **{budget: BUDGETS[budget] if budget != "keep_rows" else 12},
    )
    whole, part = tmp_path / "whole", tmp_path / "part"
    scores = folder(whole / "scores", frame, (50,), "quality")
    for name, low, high in (("000.parquet", 0, 50), ("001.parquet", 50, 120)):
        np.save(tmp_path / f"{name}{CODES}", codes[low:high])
    _, column, reasons = decided(whole, scores, options, Eligible(tmp_path), chunk=16)
    _, alone, expected = decided(part, folder(part / "scores", fit, (20,), "quality"), options)
    assert reasons == expected
    assert (column.rows, column.sizes.tolist()) == (fit.height, alone.sizes.tolist())


REFUSED = [
    (("--keep-rows", 500), "--keep-rows asks for 500 rows, and there are 150. Lower --keep-rows"),
    (("--keep-tokens", "20B"), "--keep-tokens asks for 20000000000 tokens, and there are"),
    (("--keep-rows", 100, "--cap", "conversation=1"), "--keep-rows asks for 100 rows, and --cap leaves "),
    (("--keep", 0.3, "--keep-rows", 10), "--keep and --keep-rows exclude each other. Give one of them"),
    (("--keep-rows", 1.5), "--keep-rows 1.5 must be a whole number above 0"),
    (("--keep-tokens", 0), "--keep-tokens 0 must be a whole number above 0"),
    ((), "--by score.x ranks all rows, and nothing says how many to keep"),
    (("--rule", "threshold", "--keep-rows", 10), "--rule threshold needs --keep, the lowest score that is kept"),
    (("--keep", 0.3, "--cap", "domain=1"), "--cap domain=1: 'domain' is no column of "),
    (
        ("--keep", 0.3, "--cap", "source"),
        "--cap 'source' is not known. Write COLUMN=ROWS, COLUMN=TOKENStokens or COLUMN",
    ),
    (("--keep", 0.3, "--cap", "source=xtokens"), "--cap 'source=xtokens': 'x' is not a number"),
    (("--keep", 0.3, "--cap", "source=0.5"), "0.5 must be a whole number of at least 1"),
    (("--keep", 0.3, "--cap", "source=1", "--cap", "source=2"), "--cap is given twice for the column 'source'"),
    (
        ("--cap", "source=even"),
        "--cap source=even shares out a budget evenly. Give --keep, --keep-rows or --keep-tokens",
    ),
    (
        ("--keep-rows", 20, "--cap", "source=even", "--cap", "conversation=1"),
        "--cap source=even shares out the budget among what the other caps leave, and --cap conversation=1 comes after "
        "it. Give --cap source=even last, and no other even cap",
    ),
    (("--keep-rows", 500, "--cap", "source=even"), "asks for 500 rows, and there are 150. Lower --keep-rows"),
    (("--balance", "source", "--cap", "source=1"), "--balance shares out a budget. Give --keep"),
]


@pytest.mark.parametrize(("words", "message"), REFUSED)
def test_what_cannot_be_is_one_line(tmp_path, cli, words, message):
    scores = folder(tmp_path / "scores", rows(150), meaning="quality")
    line = one_line(cli("prune", scores, "--by", "score.x", *words, "--out", tmp_path / "kept"))
    assert message in line
    assert not (tmp_path / "kept").exists()


def test_a_first_row_larger_than_the_budget_keeps_nothing_and_says_so(tmp_path, cli):
    frame = rows(50).with_columns(tokens=pl.lit(10))
    scores = folder(tmp_path / "scores", frame, meaning="quality")
    words = ("--by", "score.x", "--keep-tokens", 9, "--out", tmp_path / "kept")
    done = cli("prune", scores, *words, "--max-source-removal", 1)
    assert done.code == 0, done.err
    assert "nothing is kept, since the first row has more tokens than --keep-tokens" in done.err
    assert not decisions(tmp_path / "kept")["keep"].any()


def test_a_budget_without_a_score_keeps_rows_at_random(tmp_path, cli):
    scores = folder(tmp_path / "scores", rows(150))
    done = cli("prune", scores, "--keep-rows", 40, "--out", tmp_path / "kept")
    assert done.code == 0, done.err
    assert decisions(tmp_path / "kept")["keep"].sum() == 40
    assert "rows are kept at random, by the hash of their ids" in done.out
    line = one_line(cli("prune", scores, "--rule", "top", "--keep", 0.5, "--out", tmp_path / "other"))
    assert "--rule top ranks rows by a score. Give --by" in line
    line = one_line(cli("prune", scores, "--out", tmp_path / "other"))
    assert "nothing says which rows to keep" in line


def test_strata_of_rows_that_are_all_capped_are_one_line(tmp_path, cli):
    scores = folder(tmp_path / "scores", rows(40).with_columns(tokens=pl.lit(10)))
    words = ("--by", "score.x", "--rule", "stratified", "--keep", 1, "--cap", "source=9tokens")
    line = one_line(cli("prune", scores, *words, "--out", tmp_path / "kept"))
    assert "--keep asks for 40 rows, and --cap leaves 0. Either lower --keep or raise a --cap" in line
