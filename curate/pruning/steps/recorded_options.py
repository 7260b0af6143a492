"""Record the options of a pruning in what it writes: beside the decisions, on the card of kept rows, in pools.json.

In: the options, and the rule that was applied. Out: plain values, a command line, and `Pools` with their ``made_by``.
"""

from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path

import polars as pl

from curate.pruning import source_guard
from curate.pruning.make_pools import Pools, pools_of_sources
from curate.pruning.requirements.reading import Requirements
from curate.pruning.rule_options import RuleOptions
from curate.pruning.rules import DROPPED
from curate.pruning.steps.prune_call import PruneCall
from curate.pruning.steps.ranked_decision import RankedDecision
from curate.storage import artifacts
from curate.tables import scored, writer
from curate.tables.data_set import card


def arguments(
    scores: Path, required: Requirements, ranking: RankedDecision | None, options: RuleOptions
) -> dict[str, object]:
    """Return what decided, for the record beside the decisions, which `curate why` reads."""
    values: dict[str, object] = {"scores": str(scores), "require": list(required.texts)}
    if ranking is None:
        return values
    decided = ranking.decided
    # The rule is the one that was applied: `auto` chose it, or it is the default of the score.
    return values | asdict(options) | {"rule": decided.rule.name, "dropped_reason": decided.reasons[DROPPED]}


def command(scores: Path, call: PruneCall) -> str:
    """Return the command line of a pruning that writes its kept rows, for their card."""
    values = {
        "require": list(call.require),
        **asdict(call.options),
        "max_source_removal": call.max_source_removal,
        "partial": call.partial,
        "materialize": True,
        "format": call.format_name,
        "shard_rows": call.shard_rows,
    }
    defaults = {field.name: field.default for field in fields(RuleOptions)}
    defaults |= {"shard_rows": writer.SHARD_ROWS, "max_source_removal": source_guard.MAX_REMOVAL}
    return card.command("prune", [scores], values, defaults)


def pools(
    scores: Path,
    out: Path,
    require: Sequence[str],
    ranking: RankedDecision | None,
    options: RuleOptions,
    by_source: pl.DataFrame,
    partial: bool,
) -> Pools | None:
    """Return the pools of what is kept, or None if no token is kept."""
    members = pools_of_sources(scores, out, by_source)
    if not members:
        return None
    values: dict[str, object] = {"scores": scores}
    if ranking is not None:
        rule = ranking.decided.rule
        values |= {"by": options.by, "rule": rule.name, **rule.options_record(), "meaning": rule.meaning}
    # Options of later versions are left out where they are not set, so that pools.json keeps its bytes.
    values |= {"require": list(require)} if require else {}
    values |= {"partial": True} if partial else {}
    values |= {"cap": list(options.cap)} if options.cap else {}
    seed = 0 if ranking is None else ranking.decided.rule.seed
    return Pools(members, artifacts.made_by(values, [scored.record_path(scores)], seed))
