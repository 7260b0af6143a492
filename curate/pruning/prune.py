"""The job `prune`: decide for every scored row whether to keep it, and say why.

In: score files, requirements and a rule. Out: a decision file for each score file, tables of what was removed, and
pools.json. The job reads from top to bottom: check what was asked, apply the requirements, rank what remains, judge
what each source loses, and write.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import cast

import polars as pl

from curate.engines import Engine
from curate.engines.local import Local
from curate.errors import SchemaError
from curate.progress import Progress, reporting, silent
from curate.pruning import decisions, removal_table, rule_options, rules, source_guard
from curate.pruning.auto_rule import RuleAdvice
from curate.pruning.columns import first_reading
from curate.pruning.columns.score_column import ScoreColumn
from curate.pruning.decisions import POOLS, Decided, Fate
from curate.pruning.duplicate_check import compare_again
from curate.pruning.eligible import Eligible
from curate.pruning.kept_rows import job as kept_rows
from curate.pruning.make_pools import Folder, Pools, folder, pools_of_sources
from curate.pruning.pruned import Pruned
from curate.pruning.removal_report import examples, page
from curate.pruning.requirements import applying, unhashed
from curate.pruning.requirements import reading as requirement_reading
from curate.pruning.requirements.reading import Requirements
from curate.pruning.rule_options import RuleOptions
from curate.pruning.rules._verdicts import DROPPED
from curate.storage import artifacts, completion, disk_errors, files, manifest, s3
from curate.storage.locks import lock
from curate.storage.scratch import scratch_folder
from curate.tables import out_folder, scored, writer
from curate.tables.data_set import card
from curate.tables.shards import Shard

DUPLICATES = "score.duplicates"  # the score whose removals are compared again
WORK = "pruning"  # the folder of work files below the bookkeeping of the output


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
    ranks = _ranks(options, required=bool(require))
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

    with _workplace(out, engine or Local(), dry_run=dry_run, take_over=take_over, progress=progress) as place:
        # 1. Find the rows that meet all requirements.
        eligible = _eligible(required, scores, place)
        # 2. Rank them, and decide by their order which are kept.
        ranking = _rank(shards, options, eligible, place) if ranks else None
        # 3. Stop before anything is written if the ranking nearly empties a source.
        if ranking is not None and max_source_removal < 1:
            _guard(ranking, eligible, max_source_removal)
        # 4. Write the decision of every row.
        if not dry_run:
            completion.begin(out, scored.PRUNE_STEP, [shard.relative for shard in shards], partial=partial)
            scored.save_decided(out, shards, _arguments(scores, required, ranking, options), place.engine)
            decisions.remove_earlier(out)
        fate = _fate(required, eligible, ranking)
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
            notes=(*required.warnings(), *unhashed.warnings(required, scores)),
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
                command=_command(
                    scores,
                    {"require": list(require), **asdict(options), "max_source_removal": max_source_removal},
                    {"partial": partial, "materialize": True, "format": format_name, "shard_rows": shard_rows},
                ),
                shard_rows=shard_rows,
                engine=place.engine,
                progress=progress,
                partial_scores=partial,
            )
            # What was written is right only if the inputs stayed the same while they were read.
            scored.check_inputs(scores)
        # Last: where there is a pools.json, all that it stands for is in place.
        pools = _pools(scores, out, required.texts, ranking, options, removal.by_source, partial)
        if pools is not None:
            pools.save(out / POOLS)
        completion.end(out, scored.PRUNE_STEP)
    return replace(pruned, pools=pools)


@dataclass(frozen=True)
class Workplace:
    """Where a pruning works: the engine that reads the files, a folder for work files, and the output folder.

    ``resources`` are released when the pruning ends.
    """

    engine: Engine
    folder: Path
    out: Path
    resources: ExitStack


@dataclass(frozen=True)
class RankedDecision:
    """The ranked decision about the rows that meet all requirements, and for ``auto`` why it chose its rule."""

    column: ScoreColumn
    decided: Decided
    advice: RuleAdvice | None


@contextmanager
def _workplace(out: Path, engine: Engine, *, dry_run: bool, take_over: bool, progress: Progress) -> Iterator[Workplace]:
    """Hold the output folder and the workers. A dry run leaves the folder alone, even if another job writes in it."""
    if dry_run:
        with _work_files("") as place, engine.session(folders=(place,)) as session, ExitStack() as resources:
            yield Workplace(session, place, place, resources)
        return
    # Work files are written and read in many pieces, which an object store cannot do.
    folder = "" if s3.remote(out) else out / manifest.FOLDER / WORK
    # The lock is a file in the output folder, so it comes after all that may refuse that folder. There is one set of
    # workers for all readings: starting them takes seconds.
    with (
        lock.held(out, "prune", take_over=take_over, progress=progress),
        _work_files(folder) as place,
        engine.session(folders=(out,)) as session,
        ExitStack() as resources,
    ):
        yield Workplace(session, place, out, resources)


@contextmanager
def _work_files(folder: str | Path) -> Iterator[Path]:
    """Yield an empty folder for work files, which is removed at the end; "" is one in the system's temporary folder."""
    if not folder:
        with scratch_folder() as place, disk_errors.scratch_errors(place):
            yield place
        return
    place = Path(folder)
    # A killed pruning left its work files. Its decisions are refused by later jobs, and made again here.
    files.remove(place)
    try:
        with disk_errors.scratch_errors(place):
            yield place
    finally:
        files.remove(place)


def _ranks(options: RuleOptions, *, required: bool) -> bool:
    """Return whether there is a ranked decision; without one, all rows that meet the requirements are kept.

    Raises:
        SchemaError: if an option belongs to a ranked decision, and nothing asks for one.
    """
    if options.by or options.amounts or options.caps or not required:
        return True
    default = RuleOptions(seed=options.seed)
    names = ("rule", "balance", "trim", "temperature", "recall", "dimension", "embedding", "meaning")
    if unused := [name for name in names if getattr(options, name) != getattr(default, name)]:
        raise SchemaError(f"--{unused[0]} needs --by: without it, all rows that meet --require are kept")
    return False


def _eligible(required: Requirements, scores: Path, place: Workplace) -> Eligible | None:
    """Apply the requirements; None if there are none."""
    if not required.each:
        return None
    folder = place.folder / "requirements"
    folder.mkdir(parents=True, exist_ok=True)
    return applying.apply(required, scores, folder, place.engine).eligible


def _rank(shards: Sequence[Shard], options: RuleOptions, eligible: Eligible | None, place: Workplace) -> RankedDecision:
    """Read the score of all rows that meet the requirements, and decide which are kept."""
    advice, rule = rule_options.choose(options, shards, place.engine)
    folder = place.folder / "ranking"
    folder.mkdir(parents=True, exist_ok=True)
    column = first_reading.look(
        shards,
        options.by,
        rule_options.group_column(rule, shards),
        folder=folder,
        engine=place.engine,
        seed=options.seed,
        complexity=rule.balance.how == "dbp",
        capped=[cap.column for cap in options.caps],
        eligible=eligible,
    )
    decision = rules.decide(column, rule, options.caps, required=eligible is not None)
    verdicts = place.resources.enter_context(decision.verdicts.reachable(place.out))
    decided = Decided(column.values, rule, replace(decision, verdicts=verdicts), options.caps)
    return RankedDecision(column, decided, advice)


def _guard(ranking: RankedDecision, eligible: Eligible | None, max_removal: float) -> None:
    """Stop if the ranked decision removes nearly all of a source. What requirements remove is wanted, and only told."""
    rows, kept = decisions.rows_of_sources(ranking.column, ranking.decided, eligible)
    source_guard.check_sources(rows, kept, keep=ranking.decided.decision.share, max_removal=max_removal)


def _fate(required: Requirements, eligible: Eligible | None, ranking: RankedDecision | None) -> Fate:
    columns = tuple(requirement.columns for requirement in required.each)
    return Fate(required.texts, columns, eligible, None if ranking is None else ranking.decided)


def _arguments(
    scores: Path, required: Requirements, ranking: RankedDecision | None, options: RuleOptions
) -> dict[str, object]:
    """Return what decided, for the record of the decisions: `curate why` tells it."""
    arguments: dict[str, object] = {"scores": str(scores), "require": list(required.texts)}
    if ranking is None:
        return arguments
    decided = ranking.decided
    # The rule is the one that was applied: `auto` chose it, or it is the default of the score.
    return arguments | asdict(options) | {"rule": decided.rule.name, "dropped_reason": decided.reasons[DROPPED]}


def _check_out(scores: Path, shards: tuple[Shard, ...], out: Path) -> None:
    """Refuse an output folder that would mix decisions with scores, or kept rows with the data that was scored."""
    lock.check_place(out)
    if out.resolve() == scores.resolve():
        raise SchemaError(f"--out {out} is the folder of the scores. Give another folder for the decisions")
    data = cast(list[str], scored.job(scores)["data"]) if files.exists(scored.record_path(scores)) else []
    out_folder.check(out, data, (removal_table.TABLE, *kept_rows.output_names()))


def _command(scores: Path, decision: Mapping[str, object], output: Mapping[str, object]) -> str:
    """Return the command line of a pruning that writes its rows, for their card."""
    defaults = {field.name: field.default for field in fields(RuleOptions)}
    defaults |= {"shard_rows": writer.SHARD_ROWS, "max_source_removal": source_guard.MAX_REMOVAL}
    return card.command("prune", [scores], {**decision, **output}, defaults)


def _pools(
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
    arguments: dict[str, object] = {"scores": scores}
    if ranking is not None:
        rule = ranking.decided.rule
        arguments |= {"by": options.by, "rule": rule.name, **rule.options_record(), "meaning": rule.meaning}
    # Left out where they are not set, so that other files keep their bytes.
    arguments |= {"require": list(require)} if require else {}
    arguments |= {"partial": True} if partial else {}
    arguments |= {"cap": list(options.cap)} if options.cap else {}
    seed = 0 if ranking is None else ranking.decided.rule.seed
    return Pools(members, artifacts.made_by(arguments, [scored.record_path(scores)], seed))
