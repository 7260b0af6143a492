"""Keep or drop: a rule over one score, floors or quotas of groups, a reason per row; memory does not grow with rows."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa

from curate.description import describe
from curate.errors import SchemaError
from curate.pool import pool
from curate.progress import Progress, silent
from curate.pruning import auto_rule, rules, score_column, source_guard
from curate.pruning.auto_rule import Advice
from curate.pruning.balance import parse, resolve
from curate.pruning.make_pools import make_pools, of_sources
from curate.pruning.rules import RULES, TRIMMED, Decided, Rule
from curate.pruning.score_column import Column
from curate.pruning.source_guard import Tally
from curate.pruning.verdicts import BY_FLOOR, DROPPED, KEPT
from curate.storage import artifacts, files, manifest
from curate.tables import batches, readers, scored, writer
from curate.tables.scored import DECISIONS
from curate.tables.shards import Shard

__all__ = ["RULES", "Pruned", "make_pools", "prune"]

POOLS = "pools.json"
SCHEMA = {"id": pl.String(), "source": pl.String(), "keep": pl.Boolean(), "reason": pl.String()}


@dataclass(frozen=True)
class Pruned:
    """What pruning did: the rule that ran, rows and tokens before and after, per source and per class (if any)."""

    rule: Rule
    by_source: pl.DataFrame
    by_label: pl.DataFrame | None
    advice: Advice | None

    def table(self) -> pl.DataFrame:
        """Return one row a source: rows, kept, removed share, tokens, tokens kept, share of tokens before and after."""
        return self.by_source


def prune(
    scores: Path,
    by: str,
    out: Path,
    *,
    keep: float,
    rule: str = "hard",
    balance: str = "none",
    trim: str = "0",
    temperature: str = "2",
    recall: Mapping[str, float] | None = None,
    dimension: float | None = None,
    embedding: str = "",
    hard_end: str = "",
    max_source_removal: float = source_guard.LIMIT,
    seed: int = 0,
    progress: Progress = silent,
) -> Pruned:
    """Decide every row under ``scores`` and write one ``.keep.parquet`` a score file (atomic), same order.

    ``hard`` keeps the ``keep`` share with the highest score, ``easy`` the lowest, ``middle`` those nearest the median
    rank; ``threshold`` keeps score >= ``keep``. ``auto`` keeps hard or easy examples, by how many there are for each of
    ``dimension``, which is estimated from the vectors ``embedding`` of the score files where it is not given; which end
    is hard follows from the score's name, or from ``hard_end`` (high, low).
    ``stratified`` keeps as many of each of 50 equal parts of the score's range as it can, without the hardest ``trim``
    (Zheng et al. 2023); ``sample`` draws without replacement by exp(standardised score / ``temperature``). Ties and
    draws go by hash(id, seed). ``balance``: see ``curate.pruning.balance``; with a floor every group keeps at least
    floor * keep of its rows, the best by the same order, and the others give up as many.

    A source that loses more than ``max_source_removal`` beyond what all lose is an error, and nothing is written:
    ``removal.guard``. ``out/pools.json`` has one pool a source with what is kept. Reads the score columns several
    times; memory does not grow with the rows.
    """
    asked = _rule(rule, keep, balance, trim, temperature, recall, seed)
    if not 0 <= max_source_removal <= 1:
        raise SchemaError(f"--max-source-removal {max_source_removal:g} must lie in [0, 1]")
    found = scored.score_files(scores)
    _score(found, by)
    advice, asked = _advised(found, by, asked, dimension, embedding, hard_end, trims=":" not in trim)
    grouping = _grouping(asked, found)
    looked = score_column.look(found, by, grouping, sign=asked.sign, complexity=asked.balance.how == "dbp")
    decided = None if asked.name == "threshold" else rules.decide(looked, asked)
    if max_source_removal < 1:
        sizes, left = _by_source(looked, asked, decided)
        source_guard.guard(sizes, left, asked=1.0 if decided is None else keep, limit=max_source_removal)
    files.sweep(out, DECISIONS)
    for old in (out / POOLS, *files.below(out, DECISIONS)):  # half done, there is no mixture of two prunings
        files.remove(old)
    sources, labels = Tally(), Tally()
    reasons = {
        DROPPED: f"{asked.name}: {by}", KEPT: "kept", BY_FLOOR: f"kept: floor of its {asked.balance.kind}",
        TRIMMED: f"trimmed: {by}",
    }  # fmt: skip
    words, at = pl.Series("reason", [reasons[i] for i in range(len(reasons))]), 0

    def decisions(shard: Shard) -> Iterator[pl.DataFrame]:
        nonlocal at
        one, label = replace(looked, shards=(shard,)), ("label",) if "label" in batches.columns(shard) else ()
        for _, frame in one.frames(("id", "source", "tokens"), label):
            verdict = _verdicts(looked, asked, decided, frame, at)
            at += frame.height
            good = _good(verdict)
            source_guard.add(sources, frame["source"], frame["tokens"], good)
            if label and len(labels.found) <= source_guard.MOST:
                source_guard.add(labels, frame["label"], frame["tokens"], good)
            yield frame.select("id", "source").with_columns(pl.Series("keep", good), words[verdict])

    for done, shard in enumerate(found, start=1):
        writer.write_whole(files.inside(out, shard.relative + DECISIONS), decisions(shard), SCHEMA)
        progress("prune", done, len(found))
    by_label = source_guard.table(labels, "label") if 0 < len(labels.found) <= source_guard.MOST else None
    pruned = Pruned(asked, source_guard.table(sources, "source"), by_label, advice)
    _repool(scores, out, pruned, by)
    return pruned


def _repool(scores: Path, out: Path, pruned: Pruned, by: str) -> None:
    """Write the pools of what is kept, so that no plan is made from the sizes before; none if nothing is kept."""
    made, path = of_sources(scores, out, pruned.by_source), out / POOLS
    if not made:
        files.remove(path)
        return
    arguments = {"scores": scores, "by": by, "rule": pruned.rule.name, "keep": pruned.rule.keep}
    source = artifacts.made_by(arguments, [scores / manifest.FOLDER / "score.json"], pruned.rule.seed)
    artifacts.save(path, "pools", {"pools": pool.to_json(made), "made_by": source})


def _rule(
    name: str, keep: float, groups: str, trim: str, temperature: str, recall: Mapping[str, float] | None, seed: int
) -> Rule:
    """Read what is written on the command line."""
    end, _, share = trim.rpartition(":")
    if end not in ("", "low", "high"):
        raise SchemaError(f"--trim {trim!r}: write a share, as in 0.1, or low:0.1 where low scores are the hardest")
    unit, _, number = temperature.rpartition(":")
    if unit not in ("", "raw"):
        raise SchemaError(f"--temperature {temperature!r}: write a number of standard deviations, or raw:NUMBER")
    parsed = parse(groups)
    if recall and parsed.how != "recall":
        raise SchemaError("--recall is for --balance label:recall")
    return Rule(
        name, keep, parsed, _number("--trim", share), end == "low", _number("--temperature", number), unit == "raw",
        recall, seed,
    )  # fmt: skip


def _score(found: Sequence[Shard], by: str) -> None:
    """Refuse a column whose order says nothing: text, a vector, the number of a cluster."""
    kind = readers.head(found[0]).columns.get(by)
    number = kind is None or pa.types.is_floating(kind) or pa.types.is_integer(kind)
    if not number or (kind is not None and by.startswith("cluster.")):
        raise SchemaError(f"--by {by}: {found[0].path} has it as {kind}, which is no score: name a score.<name>")


def _number(flag: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise SchemaError(f"{flag} {text!r} is not a number") from None


def _advised(
    found: Sequence[Shard], by: str, rule: Rule, dimension: float | None, embedding: str, hard_end: str, *, trims: bool
) -> tuple[Advice | None, Rule]:
    """Turn ``auto`` into the rule that it chooses; it ``trims`` the hard end where no end was named."""
    if hard_end not in ("", "high", "low"):
        raise SchemaError(f"--hard-end {hard_end!r} must be high or low: which scores are the hard examples")
    if rule.name != "auto":
        if dimension is not None or embedding or hard_end:
            flag = "--dimension" if dimension is not None else "--embedding" if embedding else "--hard-end"
            raise SchemaError(f"{flag} is for --rule auto, not for {rule.name!r}")
        return None, rule
    if dimension is None:
        embedding = _vectors(found, embedding)
        dimension = describe.dimension(found, embedding, seed=rule.seed)
    elif embedding:
        raise SchemaError("--dimension and --embedding: give one, for the dimension is estimated from the embedding")
    total = sum(readers.head(shard).rows or 0 for shard in found)
    advice = auto_rule.advise(total, dimension, rule.keep, of=embedding)
    low = (hard_end or ("low" if by in auto_rule.LOW_IS_HARD else "high")) == "low"
    highest = (advice.choice == "hard") != low
    return advice, replace(rule, name="hard" if highest else "easy", low=low if trims else rule.low)


def _vectors(found: Sequence[Shard], asked: str) -> str:
    """Return the column of vectors in score files: the one asked for, or the only one."""
    known = [name for name in batches.columns(found[0]) if name.startswith("emb.")]
    if asked in known or (not asked and len(known) == 1):
        return asked or known[0]
    have = f"the score files have {', '.join(known)}" if known else "the score files have no vectors"
    wanted = f"{asked!r} is not there" if asked else "--rule auto needs the intrinsic dimension of the data"
    raise SchemaError(
        f"{wanted}: {have}. Give --embedding COLUMN, score with --scorer embedding too, or give --dimension D (`curate "
        "describe` estimates it)"
    )


def _grouping(rule: Rule, found: Sequence[Shard]) -> str:
    """Return the column of the groups; without any, sources are counted where they do not change the rule."""
    if rule.balance.column:
        return resolve(rule.balance, found)
    return "" if rule.name == "stratified" else "source"


def _verdicts(looked: Column, rule: Rule, decided: Decided | None, frame: pl.DataFrame, at: int) -> np.ndarray:
    if decided is None:
        return np.where(looked.scores(frame) >= rule.keep, KEPT, DROPPED)
    return decided.of(frame, at)


def _by_source(looked: Column, rule: Rule, decided: Decided | None) -> tuple[dict[str, int], dict[str, int]]:
    """Return rows and rows kept of every source, from the counts if they say, else by one more reading."""
    if decided is not None and looked.grouping == "source":
        counts = {name: (int(looked.sizes[code]), int(decided.kept[code])) for name, code in looked.groups.items()}
    else:
        tally, at = Tally(), 0
        for _, frame in looked.frames(("id", "source", "tokens")):
            source_guard.add(
                tally, frame["source"], frame["tokens"], _good(_verdicts(looked, rule, decided, frame, at))
            )
            at += frame.height
        counts = {name: (int(found[0]), int(found[1])) for name, found in tally.found.items()}
    return {name: n for name, (n, _) in counts.items()}, {name: n for name, (_, n) in counts.items()}


def _good(verdict: np.ndarray) -> np.ndarray:
    return np.asarray((verdict == KEPT) | (verdict == BY_FLOOR))
