"""The job `prune`: decide for every scored row whether to keep it, and say why.

In: score files and a rule. Out: a decision file for each score file, a table of what was removed, and pools.json.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import polars as pl

from curate.engines import Engine
from curate.engines.local import Local
from curate.errors import SchemaError
from curate.progress import Progress, silent
from curate.pruning import (
    decisions,
    kept_rows,
    removal_table,
    rule_options,
    rules,
    source_guard,
)
from curate.pruning.columns import first_reading
from curate.pruning.decisions import POOLS, Decided
from curate.pruning.duplicate_check import compare_again
from curate.pruning.make_pools import Folder, Pools, folder, pools_of_sources
from curate.pruning.pruned import Pruned
from curate.pruning.rule_options import RuleOptions
from curate.pruning.rules import Rule
from curate.storage import artifacts, completion, disk_errors, files, manifest, s3
from curate.storage.locks import lock
from curate.storage.scratch import scratch_folder
from curate.tables import out_folder, scored, writer
from curate.tables.shards import Shard, ending, stem_of

ROWS = "rows"  # the folder of kept rows below the output
DUPLICATES = "score.duplicates"  # the score whose removals are compared again


def prune(
    scores: Folder,
    out: str | Path,
    *,
    by: str = "",
    keep: float | None = None,
    keep_rows: float | None = None,
    keep_tokens: float | None = None,
    cap: Sequence[str] = (),
    rule: str = "",
    balance: str = "none",
    dimension: float | None = None,
    embedding: str = "",
    meaning: Mapping[str, str] | None = None,
    trim: str | float = "0",
    temperature: str | float = "",
    recall: Mapping[str, float] | None = None,
    max_source_removal: float = source_guard.MAX_REMOVAL,
    verify: int = compare_again.SAMPLED,
    materialize: bool = False,
    partial: bool = False,
    shard_rows: int = writer.SHARD_ROWS,
    seed: int = 0,
    engine: Engine | None = None,
    take_over: bool = False,
    progress: Progress = silent,
) -> Pruned:
    """Decide every row below ``scores``, and write one ``.keep.parquet`` below ``out`` for each score file.

    Args:
        scores: the result of `score`, or its folder.
        out: a folder for the decisions, ``removal.parquet`` and ``removal.md`` (rows and tokens of each source and
            reason), and ``pools.json``, which has one pool for each source with what is kept.
        by: the score column, such as ``score.prototypes``, or ``tokens``. Without it, rows come in the order of the
            hashes of their ids, which is as good as at random.
        keep: the share of rows to keep; for ``threshold`` the least score that is kept.
        keep_rows: the number of rows to keep, in place of ``keep``.
        keep_tokens: the number of tokens to keep, in place of ``keep``. Rows are kept in the order of the rule up to
            the one that would cross this number.
        cap: limits for each value of a column, in the order in which they apply: ``conversation=1`` row,
            ``source=2e9tokens``, or ``domain=even``, which fills the budget evenly. They apply before the budget.
        rule: ``top`` keeps the highest scores. It needs a quality score, and is the default for one. ``hard`` keeps the
            hardest rows and ``easy`` the easiest. ``auto`` chooses one of these two by the number of rows per dimension
            of the data (Sorscher et al. 2022). These three need a hardness or easiness score, which has no default
            rule. The other rules accept any score. ``middle`` keeps scores nearest the median rank. ``threshold`` keeps
            all scores from ``keep`` up. ``stratified`` keeps rows from all parts of the score's range (Zheng et al.
            2023). ``sample`` draws without replacement, by the softmax of the score.
        balance: ``none``, or a floor or quota of groups, such as ``source:0.5``, ``label:even`` or ``dbp:0.1:20``.
            ``label:recall`` is DRoP (Vysogorets et al. 2025): quotas in proportion to 1 - recall, rounded down.
            ``dbp:TAU`` is density-based pruning (Abbas et al. 2024): by softmax(``score.density`` / TAU).
        dimension: for ``auto``, the intrinsic dimension of the data. None: it is estimated.
        embedding: for ``auto``, the column of vectors in the score files to estimate the dimension from.
        meaning: what a high score means, by the name of the score: ``quality`` (better), ``hardness`` (harder) or
            ``easiness`` (easier). It overrides the meaning that the score files record.
        trim: share of the rows to drop first: the hardest, which are often mislabelled.
        temperature: for ``sample``, in standard deviations of the score, or ``raw:T`` in its own units. "" is 2, or
            ``raw:1`` for a score that is the logarithm of an importance weight (`dsir`). Below 0 it favours low scores.
        recall: the recall of each class on held-out data, for the balance ``label:recall``.
        max_source_removal: stop if a source loses more than this beyond what all lose. 1: never.
        verify: with ``score.duplicates``, the number of removed rows whose similarity is checked exactly.
        materialize: write the kept rows too, to ``out/rows``, in files of ``shard_rows`` rows.
        partial: take what is scored so far of a folder whose job has not ended. What is left out is a warning.
        seed: of the draws and of the order among equal scores.
        engine: where to read and write files; None does it in this process. The result does not depend on it.
        take_over: write even if a job on another machine holds ``out``; that job stops.
        progress: called with what is counted, how many are done, and of how many.

    The score columns are read several times. Memory does not grow with the rows. A prune that was stopped leaves a
    folder that later jobs refuse, until the same call has ended.

    Raises:
        Unfinished: if the job `score` has not ended in ``scores``, and ``partial`` is not set.
        FolderBusy: if another job writes in ``out``.
        SchemaError: if an option is wrong, a column is missing, a score is not finite, or the rule does not suit what
            the score means. Without ``rule``, a difficulty score is refused with what ``auto`` advises.
        SourceNearlyGone: if a source loses too much; nothing is written then.
    """
    scores, out = folder(scores), Path(out)
    options = RuleOptions(
        by=by,
        keep=keep,
        rule=rule,
        balance=balance,
        trim=str(trim),
        temperature=str(temperature),
        recall=recall,
        dimension=dimension,
        embedding=embedding,
        meaning=meaning,
        seed=seed,
        keep_rows=keep_rows,
        keep_tokens=keep_tokens,
        cap=cap,
    )
    shards = scored.score_files(scores, partial=partial)
    # The decisions are about rows of the inputs, which pools.json, the check of duplicates and the kept rows read.
    scored.check_inputs(scores)
    # A missing input is noticed before the decisions of an earlier call are removed.
    if materialize:
        scored.with_inputs(scores, scored.inputs(scores), partial=partial)
    elif by == DUPLICATES and verify:
        scored.with_inputs(scores, scored.inputs(scores), remedy=compare_again.REMEDY, partial=partial)
    _check_out(scores, shards, out)
    left_out = scored.left_out(scores)
    # The lock is a file in the output folder, so it comes after all that may refuse that folder.
    with (
        lock.held(out, "prune", take_over=take_over, progress=progress),
        # One set of workers for all readings: starting them takes seconds.
        (engine or Local()).session(folders=(out,)) as session,
    ):
        pruned = _decide_all(scores, shards, out, options, session, max_source_removal, partial, progress)
        pruned = replace(pruned, left_out=left_out)
        if by == DUPLICATES and verify:
            verified = compare_again.sampled(scores, out, by, count=verify, seed=seed, engine=session, partial=partial)
            pruned = replace(pruned, verified=verified)
        if materialize:
            kept_rows.write_kept(
                scores, out, out / ROWS, shard_rows=shard_rows, engine=session, progress=progress, partial=partial
            )
            # What was written is right only if the inputs stayed the same while they were read.
            scored.check_inputs(scores)
        # Last: where there is a pools.json, all that it stands for is in place.
        if pruned.pools is not None:
            pruned.pools.save(out / POOLS)
        completion.end(out, scored.PRUNE_STEP)
    return pruned


def _check_out(scores: Path, shards: tuple[Shard, ...], out: Path) -> None:
    """Refuse an output folder that would mix decisions with scores, or kept rows with the data that was scored."""
    lock.check_place(out)
    if out.resolve() == scores.resolve():
        raise SchemaError(f"--out {out} is the folder of the scores. Give another folder for the decisions")
    data = cast(list[str], scored.job(scores)["data"]) if files.exists(scored.record_path(scores)) else []
    names = [f"rows/{stem_of(shard.relative)}-00000{ending(shard.relative)}" for shard in shards]
    out_folder.check(out, data, (removal_table.TABLE, *names))


def _decide_all(
    scores: Path,
    shards: tuple[Shard, ...],
    out: Path,
    options: RuleOptions,
    engine: Engine,
    max_removal: float,
    partial: bool,
    progress: Progress,
) -> Pruned:
    if not 0 <= max_removal <= 1:
        raise SchemaError(f"--max-source-removal {max_removal:g} must lie in [0, 1]")
    advice, rule = rule_options.choose(options, shards, engine)
    # Work files are below the output, where workers on other machines find them too; a store has no such place.
    place = "" if s3.remote(out) else out / manifest.FOLDER
    with scratch_folder(place) as folder, disk_errors.scratch_errors(folder):
        column = first_reading.look(
            shards,
            options.by,
            rule_options.group_column(rule, shards),
            folder=folder,
            engine=engine,
            seed=options.seed,
            complexity=rule.balance.how == "dbp",
            capped=[cap.column for cap in options.caps],
        )
        decision = rules.decide(column, rule, options.caps)
        with decision.verdicts.reachable(out) as verdicts:
            decided = Decided(column.values, rule, replace(decision, verdicts=verdicts))
            if max_removal < 1:
                rows, kept = decisions.rows_of_sources(column, decided)
                source_guard.check_sources(rows, kept, keep=decided.decision.share, max_removal=max_removal)
            completion.begin(out, scored.PRUNE_STEP, [shard.relative for shard in shards], partial=partial)
            scored.save_decided(out, shards, engine)
            removal = decisions.write_decisions(column, decided, out, progress)
    removal_table.save(removal, out)
    pools = _pools(scores, out, rule, options, removal.by_source, partial)
    return Pruned(out, rule, removal, advice, pools, by=options.by)


def _pools(
    scores: Path, out: Path, rule: Rule, options: RuleOptions, by_source: pl.DataFrame, partial: bool
) -> Pools | None:
    """Return the pools of what is kept, or None if no token is kept."""
    members = pools_of_sources(scores, out, by_source)
    if not members:
        return None
    arguments = {"scores": scores, "by": options.by, "rule": rule.name, **rule.options_record()}
    arguments |= {"meaning": rule.meaning}
    # Left out where they are not set, so that other files keep their bytes.
    arguments |= {"partial": True} if partial else {}
    arguments |= {"cap": list(options.cap)} if options.cap else {}
    return Pools(members, artifacts.made_by(arguments, [scored.record_path(scores)], rule.seed))
