"""Requirements, rule, balance, caps and budget in one call of `prune`, against a loop over all rows in memory."""

import json
from dataclasses import replace

import numpy as np
import polars as pl
import prune_in_memory
from hypothesis import given, settings
from hypothesis import strategies as st
from score_folders import JOB

from curate.engines.local import Local
from curate.errors import SchemaError
from curate.pruning import rule_options
from curate.pruning.balance import Balance
from curate.pruning.columns.row_table import FILE_STEP
from curate.pruning.columns.value_hashes import MISSING_SEED, VALUE_SEED
from curate.pruning.prune import prune
from curate.pruning.rule_options import RuleOptions
from curate.tables import batches, scored

# Conditions, and what they are for a row in Python. Of a missing value nothing is true.
CONDITIONS = {
    "score.x > -0.5": lambda row: row["score.x"] > -0.5,
    "tokens BETWEEN 2 AND 30": lambda row: 2 <= row["tokens"] <= 30,
    "source IN ('a', 'ü') OR label = 'x'": lambda row: row["source"] in ("a", "ü") or row["label"] == "x",
    "conversation IS NOT NULL": lambda row: row["conversation"] is not None,
    "NOT flag": lambda row: row["flag"] is False,
    "level >= 0.5": lambda row: row["level"] is not None and row["level"] >= 0.5,
    "tokens / tokens = 1": lambda row: row["tokens"] > 0,
    "LENGTH(id) > 2 AND id <> 'r''s'": lambda row: len(row["id"]) > 2,
}
CAPS = (
    (),
    ("conversation=2",),
    ("source=300tokens", "conversation=even"),
    ("level=5",),
    ("level=60tokens", "source=9", "id=1"),
    ("conversation=1", "level=even"),
)
RULES = {"top": "quality", "hard": "easiness", "easy": "easiness", "middle": "quality", "": None}


def rows(n: int, seed: int) -> pl.DataFrame:
    """Rows with ties, missing values, rows without tokens and equal ids."""
    rng = np.random.default_rng(seed)
    return pl.DataFrame(
        {
            "id": [f"r{i % max(1, n - 2)}" for i in range(n)],
            "source": np.array(["a", "b", "ü"])[rng.choice(3, n, p=[0.6, 0.3, 0.1])],
            "tokens": np.where(rng.random(n) < 0.1, 0, rng.integers(1, 40, n)),
            "label": np.array(["x", "y"])[rng.integers(0, 2, n)],
            "score.x": rng.normal(size=n).round(1),
            "conversation": [None if c == 0 else f"c {c}" for c in rng.integers(0, n // 3 + 1, n)],
            "level": [None if v == 0 else v / 2 for v in rng.integers(0, 5, n).tolist()],
            "flag": [None if v == 0 else v == 1 for v in rng.integers(0, 3, n).tolist()],
        },
        schema_overrides={"conversation": pl.String, "level": pl.Float64, "flag": pl.Boolean},
    )


def folder(out, frame, edges, meaning):
    fields = {"meanings": {"score.x": meaning}}
    for i, (low, high) in enumerate(zip(edges[:-1], edges[1:], strict=True)):
        batches.write(out / f"{i}.parquet.scores.parquet", [frame[low:high]], schema=frame.schema, fields=fields)
    (out / "_curate").mkdir(parents=True)
    (out / "_curate" / "score.json").write_text(json.dumps(JOB))
    return out


def expected(frame, edges, conditions, options, rule):
    """Return the reason of every row; an empty list if no row meets all conditions or the budget is too large."""
    failed = [next((text for text in conditions if not CONDITIONS[text](row)), "") for row in frame.to_dicts()]
    remaining = [i for i, text in enumerate(failed) if not text]
    if not remaining:
        return []
    part = frame[remaining]
    grouping = rule.balance.column
    names = list(dict.fromkeys(part[grouping])) if grouping else ["all"]
    group = np.array([names.index(name) for name in part[grouping]] if grouping else [0] * part.height)
    # A row without a value is told from others by its id, its file and its place in it.
    file_of = [max(j for j, edge in enumerate(edges[:-1]) if edge <= i) for i in remaining]
    places = [i - edges[j] + j * FILE_STEP for i, j in zip(remaining, file_of, strict=True)]

    def value_hash(value):
        if not isinstance(value, tuple):
            return int(batches.keys([value], VALUE_SEED)[0])
        i = int(value[1])
        return (int(batches.keys([part["id"][i]], MISSING_SEED)[0]) + places[i]) % 2**64

    whole = prune_in_memory.Scores(
        part[options.by].to_numpy() if options.by else np.zeros(part.height),
        batches.keys(part["id"], options.seed),
        group,
        part["tokens"].to_numpy(),
        tuple(names),
        values=tuple(part[cap.column].cast(pl.String).str.strip_suffix(".0").to_list() for cap in options.caps),
    )
    # What caps leave does not depend on the balance. An even cap comes last, and only shares out the budget.
    limits = tuple(cap for cap in options.caps if cap.how != "even")
    limited = replace(whole, values=whole.values[: len(limits)])
    plain = prune_in_memory.decide(limited, replace(rule, balance=Balance()), limits, value_hash)
    if rule.budget is not None:
        weight = rule.budget.weights(whole.tokens)
        if rule.budget.target(part.height) > weight[(plain.capped < 0) & ~plain.removed_first].sum():
            return []
    result = prune_in_memory.decide(whole, rule, options.caps, value_hash)
    for place, i in enumerate(remaining):
        if result.capped[place] >= 0:
            failed[i] = f"cap: {options.cap[result.capped[place]]}"
        elif result.by_floor[place]:
            failed[i] = f"kept: floor of its {rule.balance.kind}"
        else:
            failed[i] = "kept" if result.keep[place] else rule.dropped_reason(options.by)
    return failed


@settings(max_examples=30)
@given(
    n=st.integers(1, 80),
    seed=st.integers(0, 999),
    conditions=st.lists(st.sampled_from(sorted(CONDITIONS)), min_size=1, max_size=4, unique=True),
    caps=st.sampled_from(CAPS),
    rule=st.sampled_from(sorted(RULES)),
    balance=st.sampled_from(["none", "source:0.8", "label:even"]),
    budget=st.sampled_from(["keep", "keep_rows", "keep_tokens", ""]),
    share=st.floats(0.01, 1),
    data=st.data(),
)
def test_every_decision_is_as_by_brute_force(
    tmp_path_factory, n, seed, conditions, caps, rule, balance, budget, share, data
):
    frame, path = rows(n, seed), tmp_path_factory.mktemp("case")
    edges = [0, *sorted(data.draw(st.lists(st.integers(0, n), max_size=3))), n]
    scores = folder(path / "scores", frame, edges, RULES[rule] or "quality")
    if not budget and not any("even" not in cap for cap in caps):
        budget = "keep"
    if not budget:
        caps, balance = tuple(cap for cap in caps if "even" not in cap), "none"
    amounts = {
        "keep": share,
        "keep_rows": max(1, int(share * n / 2)),
        "keep_tokens": max(1, int(share * frame["tokens"].sum() / 2)),
    }
    chosen = {budget: amounts[budget]} if budget else {}
    by = "score.x" if rule else ""
    options = RuleOptions(by=by, rule=rule, balance=balance, cap=caps, seed=seed % 3, **chosen)
    _, read = rule_options.choose(options, scored.score_files(scores), Local())
    reasons = expected(frame, edges, conditions, options, read)
    arguments = {"by": by, "rule": rule, "balance": balance, "cap": caps, "seed": seed % 3, **chosen}
    try:
        pruned = prune(scores, path / "kept", require=conditions, max_source_removal=1, **arguments)
    except SchemaError as error:
        assert not reasons, error
        assert " meets all --require" in str(error) or " asks for " in str(error)
        return
    files = [path / "kept" / f"{i}.parquet.keep.parquet" for i in range(len(edges) - 1)]
    decided = pl.concat([pl.read_parquet(file) for file in files])
    assert decided["reason"].to_list() == reasons
    assert decided["keep"].to_list() == [reason.startswith("kept") for reason in reasons]
    kept = frame.filter(decided["keep"])
    assert (pruned.removal.total["kept"], pruned.removal.total["tokens_kept"]) == (kept.height, kept["tokens"].sum())
    counts = (
        pl.DataFrame({"reason": reasons, "tokens": frame["tokens"]})
        .group_by("reason")
        .agg(rows=pl.len(), tokens=pl.col("tokens").sum())
    )
    told = pruned.by_reason.group_by("reason").agg(pl.col("rows", "tokens").sum())
    kinds = counts.with_columns(pl.col("reason").replace({r: "kept" for r in reasons if r.startswith("kept")}))
    assert sorted(told.rows()) == sorted(kinds.group_by("reason").agg(pl.col("rows", "tokens").sum()).rows())
