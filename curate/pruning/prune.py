"""The job `prune`: decide for every scored row whether to keep it, and say why.

In: score files, requirements and a rule. Out: a decision file for each score file, tables of what was removed, and
pools.json. The job reads from top to bottom: check the options, apply the requirements, rank what remains, judge what
each source loses, and write.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

from curate.engines import Engine
from curate.engines.local import Local
from curate.errors import SchemaError
from curate.progress import Progress, reporting, silent
from curate.pruning import decisions, in_memory, removal_table, rule_options, source_guard
from curate.pruning.budgets import capped_inputs
from curate.pruning.decisions import POOLS, Fate
from curate.pruning.duplicate_check import compare_again
from curate.pruning.eligible import Eligible
from curate.pruning.in_memory import ScoresToPrune
from curate.pruning.kept_rows import job as kept_rows
from curate.pruning.pruned import Pruned
from curate.pruning.removal_report import examples, page
from curate.pruning.requirements import applying, unhashed
from curate.pruning.requirements import reading as requirement_reading
from curate.pruning.requirements.reading import Requirements
from curate.pruning.rule_options import RuleOptions
from curate.pruning.steps import ranked_decision, recorded_options
from curate.pruning.steps.prune_call import PruneCall
from curate.pruning.steps.ranked_decision import RankedDecision
from curate.pruning.steps.workplace import Workplace, workplace
from curate.storage import completion, files
from curate.storage.locks import lock
from curate.tables import out_folder, scored, writer
from curate.tables.shards import Shard

DECIDED = "decided"  # the folder of decisions below that of work files, where there is no output folder


def prune(
    scores: ScoresToPrune,
    out: str | Path | None = None,
    *,
    require: Sequence[str] = (),
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
    format_name: str = "",
    partial: bool = False,
    dry_run: bool = False,
    shard_rows: int = writer.SHARD_ROWS,
    seed: int = 0,
    engine: Engine | None = None,
    take_over: bool = False,
    progress: Progress = silent,
) -> Pruned:
    """Decide every row of ``scores``, and write one ``.keep.parquet`` below ``out`` for each score file.

    Without ``out``, nothing stays on disk: ``decisions()`` of the result has every row's fate, and ``table()`` and
    ``removal`` what each source loses. They equal what a call with ``out`` writes, but duplicates are not compared
    again.

    Args:
        scores: the result of `score`, or its folder; or, without ``out``, a polars, pandas or pyarrow table with the
            columns of score files. A table does not record what a high score means, so that ``meaning`` must say it.
        out: a folder for the decisions, ``removal.parquet`` and ``removal.md`` (rows and tokens of each source and
            reason), and ``pools.json``, which has one pool for each source with what is kept.
        require: conditions in SQL that every kept row meets, such as ``score.length > 100``. They may name columns of
            the score files and of the inputs. A row that fails some has the first one as its reason. A row for which a
            condition is null fails it; NaN counts as null. A lower bound such as ``score.duplicates >= 0.25`` is
            applied last, wherever it stands: groups of duplicates are formed again among the rows that meet all others.
        by: the score column to rank the remaining rows by, such as ``score.prototypes``, or ``tokens``. Without it,
            they come in the order of the hashes of their ids, which is as good as at random.
        keep: the share of the remaining rows to keep; for ``threshold`` the least score that is kept.
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
        materialize: write the kept rows too, to ``out/rows``, with a card that `datasets.load_dataset` reads, and data
            files of ``shard_rows`` rows.
        format_name: of these files, ``parquet`` or ``jsonl``. "" is the format of the inputs: JSON stays JSON lines
            with its very bytes, and Parquet, Arrow, CSV and TSV become Parquet. Inputs of both kinds need a name.
        partial: take what is scored so far of a folder whose job has not ended. What is left out is a warning.
        dry_run: decide everything, and write nothing. Work files are in the system's temporary folder, so that workers
            must be on this machine.
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
            the score means. Without ``rule``, a difficulty score is refused with what ``auto`` advises. Also if a
            requirement cannot be used, or no row meets all of them.
        SourceNearlyGone: if a source loses too much; nothing is written then.
    """
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
    call = PruneCall(
        options=options,
        require=tuple(require),
        max_source_removal=max_source_removal,
        verify=verify,
        materialize=materialize,
        format_name=format_name,
        partial=partial,
        dry_run=dry_run,
        shard_rows=shard_rows,
        engine=engine or Local(),
        take_over=take_over,
        progress=progress,
        in_memory=in_memory.is_table(scores),
    )
    with in_memory.score_folder(scores) as score_folder:
        return _prune(score_folder, None if out is None else Path(out), call)


def _prune(scores: Path, out: Path | None, call: PruneCall) -> Pruned:
    """Decide the rows of a folder of scores; write the decisions unless ``out`` is None."""
    options = call.options
    is_ranked = rule_options.is_ranked(options, required=bool(call.require))
    shards, required = _read_scores(scores, out, call)
    capped = capped_inputs.read(options.caps, scores, shards, partial=call.partial)
    left_out = scored.left_out(scores)

    written = None if call.dry_run else out
    with workplace(written, call) as place:
        # 1. Find the rows that meet all requirements.
        eligible = _eligible(required, scores, place)
        # 2. Rank them, and decide by their order which are kept.
        ranking = ranked_decision.rank(shards, options, eligible, place, capped) if is_ranked else None
        # 3. Stop before anything is written if the ranking nearly empties a source.
        if ranking is not None and call.max_source_removal < 1:
            ranked_decision.guard_sources(ranking, eligible, call.max_source_removal)
        # 4. Write the decision of every row.
        if written is not None:
            completion.begin(written, scored.PRUNE_STEP, [shard.relative for shard in shards], partial=call.partial)
            arguments = recorded_options.arguments(scores, required, ranking, options)
            scored.save_decided(written, shards, arguments, place.engine)
            decisions.remove_earlier(written)
        columns = tuple(requirement.columns for requirement in required.each)
        fate = Fate(required.texts, columns, eligible, None if ranking is None else ranking.decided)
        score_files = decisions.score_file_starts(shards) if ranking is None else ranking.column.files
        ranked_rows = 0 if ranking is None else ranking.column.rows
        # A dry run with an output folder only counts. Without one, the decisions are read back from work files.
        decision_folder = place.work_files / DECIDED if out is None else written
        with reporting(call.progress):
            counts = decisions.decide_files(score_files, fate, ranked_rows, decision_folder, place.engine)
        shown = examples.examples(counts.places, scores, shards, fate.reasons, fate.deciding_columns, place.engine)
        removal = replace(decisions.removal(counts, fate, shown), tokens_noun=scored.tokens_noun([scores]))
        pruned = Pruned(
            out,
            None if ranking is None else ranking.decided.rule,
            removal,
            None if ranking is None else ranking.advice,
            by=options.by,
            left_out=left_out,
            notes=(*required.warnings(), *unhashed.warnings(required, scores)),
            dry_run=call.dry_run,
            decided=in_memory.decisions(place.work_files / DECIDED) if out is None else None,
        )
        if written is None:
            return pruned
        page.save(removal, written)
        # 5. Write what other jobs read: kept rows and pools.
        return _write_for_later_jobs(pruned, scores, written, call, ranking, place.engine)


def _read_scores(scores: Path, out: Path | None, call: PruneCall) -> tuple[tuple[Shard, ...], Requirements]:
    """Return the score files and the requirements, after all checks that need no work."""
    if not 0 <= call.max_source_removal <= 1:
        raise SchemaError(f"--max-source-removal {call.max_source_removal:g} must lie in [0, 1]")
    shards = scored.score_files(scores, partial=call.partial)
    # The decisions are about rows of the inputs, which pools.json, the check of duplicates and the kept rows read.
    scored.check_inputs(scores)
    # A missing input is noticed before the decisions of an earlier call are removed.
    if call.materialize:
        if out is None:
            raise SchemaError("materialize=True writes the kept rows to OUT/rows. Give out")
        pairs = scored.with_inputs(scores, scored.inputs(scores), partial=call.partial)
        kept_rows.data_format([data for _, data in pairs], call.format_name)
    elif call.verifies and out is not None:
        scored.with_inputs(scores, scored.inputs(scores), remedy=compare_again.REMEDY, partial=call.partial)
    if out is not None and not call.in_memory:
        _check_out(scores, shards, out)
    required = requirement_reading.read(call.require, scores, shards, partial=call.partial)
    if call.in_memory:
        in_memory.check(required, out)
    return shards, required


def _write_for_later_jobs(
    pruned: Pruned, scores: Path, out: Path, call: PruneCall, ranking: RankedDecision | None, engine: Engine
) -> Pruned:
    """Compare removed duplicates again, write the kept rows and pools.json, and end the job."""
    options, removal = call.options, pruned.removal
    if call.verifies:
        verified = compare_again.sampled(
            scores, out, options.by, count=call.verify, seed=options.seed, engine=engine, partial=call.partial
        )
        pruned = replace(pruned, verified=verified)
    if call.materialize:
        kept_rows.write_kept(
            scores,
            out,
            format_name=call.format_name,
            command=recorded_options.command(scores, call),
            shard_rows=call.shard_rows,
            engine=engine,
            progress=call.progress,
            partial_scores=call.partial,
        )
        # What was written is right only if the inputs stayed the same while they were read.
        scored.check_inputs(scores)
    # Last: where there is a pools.json, all that it stands for is in place.
    pools = recorded_options.pools(scores, out, removal.requirements, ranking, options, removal.by_source, call.partial)
    if pools is not None:
        pools.save(out / POOLS)
    completion.end(out, scored.PRUNE_STEP)
    return replace(pruned, pools=pools)


def _eligible(required: Requirements, scores: Path, place: Workplace) -> Eligible | None:
    """Apply the requirements; None if there are none."""
    if not required.each:
        return None
    return applying.apply(required, scores, place.folder("requirements"), place.engine).eligible


def _check_out(scores: Path, shards: tuple[Shard, ...], out: Path) -> None:
    """Refuse an output folder that would mix decisions with scores, or kept rows with the data that was scored."""
    lock.check_place(out)
    if out.resolve() == scores.resolve():
        raise SchemaError(f"--out {out} is the folder of the scores. Give another folder for the decisions")
    data = cast(list[str], scored.job(scores)["data"]) if files.exists(scored.record_path(scores)) else []
    out_folder.check(out, data, (removal_table.TABLE, *kept_rows.output_names()))
