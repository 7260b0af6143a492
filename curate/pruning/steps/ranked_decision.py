"""Rank the rows that meet all requirements, and decide by their order which are kept.

In: score files, the options of the rule, and which rows meet the requirements. Out: a `RankedDecision`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from curate.pruning import decisions, rule_options, rules, source_guard
from curate.pruning.budgets.capped_inputs import CappedInput
from curate.pruning.columns import first_reading
from curate.pruning.columns.score_column import ScoreColumn
from curate.pruning.decisions import Decided
from curate.pruning.eligible import Eligible
from curate.pruning.rule_options import RuleOptions
from curate.pruning.steps.workplace import Workplace
from curate.tables.shards import Shard

if TYPE_CHECKING:
    from curate.pruning.auto_rule import RuleAdvice

RANKING = "ranking"  # the folder of work files of the ranked decision


@dataclass(frozen=True)
class RankedDecision:
    """The ranked decision about the rows that meet all requirements, and for ``auto`` why it chose its rule."""

    column: ScoreColumn
    decided: Decided
    advice: "RuleAdvice | None"


def rank(
    shards: Sequence[Shard],
    options: RuleOptions,
    eligible: Eligible | None,
    place: Workplace,
    capped: Sequence[CappedInput] = (),
) -> RankedDecision:
    """Read the score of all rows that meet the requirements, and decide which are kept.

    ``capped`` are the columns of the inputs that caps read.
    """
    advice, rule = rule_options.choose(options, shards, place.engine, eligible)
    column = first_reading.look(
        shards,
        options.by,
        rule_options.group_column(rule, shards),
        folder=place.folder(RANKING),
        engine=place.engine,
        seed=options.seed,
        complexity=rule.balance.how == "dbp",
        capped=[cap.column for cap in options.caps],
        eligible=eligible,
        capped_inputs=capped,
    )
    decision = rules.decide(column, rule, options.caps, required=eligible is not None)
    # Where the output is in a store, so is a copy of the verdicts: workers on other machines read them.
    verdicts = place.resources.enter_context(decision.verdicts.reachable(place.out))
    decided = Decided(column.values, rule, replace(decision, verdicts=verdicts), options.caps)
    return RankedDecision(column, decided, advice)


def guard_sources(ranking: RankedDecision, eligible: Eligible | None, max_removal: float) -> None:
    """Stop if the ranked decision removes nearly all of a source.

    What requirements remove is wanted. It is reported, and never stops a job.

    Raises:
        SourceNearlyGone: with the source that loses most.
    """
    rows, kept = decisions.rows_of_sources(ranking.column, ranking.decided, eligible)
    source_guard.check_sources(rows, kept, keep=ranking.decided.decision.share, max_removal=max_removal)
