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
from curate.pruning import decisions, ranked_decision, recorded_options, removal_table, source_guard
from curate.pruning.decisions import POOLS, Fate
from curate.pruning.duplicate_check import compare_again
from curate.pruning.eligible import Eligible
from curate.pruning.kept_rows import job as kept_rows
from curate.pruning.make_pools import Folder, folder
from curate.pruning.pruned import Pruned
from curate.pruning.removal_report import examples, page
from curate.pruning.requirements import applying
from curate.pruning.requirements import reading as requirement_reading
from curate.pruning.requirements.reading import Requirements
from curate.pruning.requirements.requirement import DUPLICATES
from curate.pruning.rule_options import RuleOptions
from curate.pruning.workplace import Workplace, workplace
from curate.storage import completion, files
from curate.storage.locks import lock
from curate.tables import out_folder, scored, writer
from curate.tables.shards import Shard


def prune(
    scores: Folder,
    out: str | Path,
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
    """Decide every row below ``scores``, and write one ``.keep.parquet`` below ``out`` for each score file.

    Args:
        scores: the result of `score`, or its folder.
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
    is_ranked = ranked_decision.is_needed(options, required=bool(require))
    if not 0 <= max_source_removal <= 1:
        raise SchemaError(f"--max-source-removal {max_source_removal:g} must lie in [0, 1]")
    shards = scored.score_files(scores, partial=partial)
    # The decisions are about rows of the inputs, which pools.json, the check of duplicates and the kept rows read.
    scored.check_inputs(scores)
    # A missing input is noticed before the decisions of an earlier call are removed.
    verifies = by == DUPLICATES and verify > 0
    if materialize:
        pairs = scored.with_inputs(scores, scored.inputs(scores), partial=partial)
        kept_rows.data_format([data for _, data in pairs], format_name)
    elif verifies:
        scored.with_inputs(scores, scored.inputs(scores), remedy=compare_again.REMEDY, partial=partial)
    _check_out(scores, shards, out)
    required = requirement_reading.read(tuple(require), scores, shards, partial=partial)
    left_out = scored.left_out(scores)

    with workplace(out, engine or Local(), dry_run=dry_run, take_over=take_over, progress=progress) as place:
        # 1. Find the rows that meet all requirements.
        eligible = _eligible(required, scores, place)
        # 2. Rank them, and decide by their order which are kept.
        ranking = ranked_decision.rank(shards, options, eligible, place) if is_ranked else None
        # 3. Stop before anything is written if the ranking nearly empties a source.
        if ranking is not None and max_source_removal < 1:
            ranked_decision.guard_sources(ranking, eligible, max_source_removal)
        # 4. Write the decision of every row.
        if not dry_run:
            completion.begin(out, scored.PRUNE_STEP, [shard.relative for shard in shards], partial=partial)
            arguments = recorded_options.arguments(scores, required, ranking, options)
            scored.save_decided(out, shards, arguments, place.engine)
            decisions.remove_earlier(out)
        columns = tuple(requirement.columns for requirement in required.each)
        fate = Fate(required.texts, columns, eligible, None if ranking is None else ranking.decided)
        score_files = decisions.score_file_starts(shards) if ranking is None else ranking.column.files
        ranked_rows = 0 if ranking is None else ranking.column.rows
        with reporting(progress):
            counts = decisions.decide_files(score_files, fate, ranked_rows, None if dry_run else out, place.engine)
        shown = examples.examples(counts.places, scores, shards, fate.reasons, fate.deciding_columns, place.engine)
        removal = replace(decisions.removal(counts, fate, shown), tokens_noun=scored.tokens_noun([scores]))
        pruned = Pruned(
            out,
            None if ranking is None else ranking.decided.rule,
            removal,
            None if ranking is None else ranking.advice,
            by=by,
            left_out=left_out,
            notes=required.warnings(),
            dry_run=dry_run,
        )
        if dry_run:
            return pruned
        page.save(removal, out)
        # 5. Write what other jobs read: kept rows and pools.
        if verifies:
            verified = compare_again.sampled(
                scores, out, by, count=verify, seed=seed, engine=place.engine, partial=partial
            )
            pruned = replace(pruned, verified=verified)
        if materialize:
            kept_rows.write_kept(
                scores,
                out,
                format_name=format_name,
                command=recorded_options.command(scores, require, options, format_name, shard_rows),
                shard_rows=shard_rows,
                engine=place.engine,
                progress=progress,
                partial_scores=partial,
            )
            # What was written is right only if the inputs stayed the same while they were read.
            scored.check_inputs(scores)
        # Last: where there is a pools.json, all that it stands for is in place.
        pools = recorded_options.pools(scores, out, required.texts, ranking, options, removal.by_source, partial)
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
