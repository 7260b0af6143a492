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
from curate.pruning import decisions, in_memory, removal_table, rule_options, rules, source_guard
from curate.pruning.auto_rule import RuleAdvice
from curate.pruning.budgets import capped_inputs
from curate.pruning.budgets.capped_inputs import CappedInput
from curate.pruning.columns import first_reading
from curate.pruning.columns.score_column import ScoreColumn
from curate.pruning.decisions import POOLS, Decided, Fate
from curate.pruning.duplicate_check import compare_again
from curate.pruning.eligible import Eligible
from curate.pruning.in_memory import ScoresToPrune
from curate.pruning.kept_rows import job as kept_rows
from curate.pruning.make_pools import Pools, pools_of_sources
from curate.pruning.pruned import Pruned
from curate.pruning.removal_report import examples, page
from curate.pruning.requirements import applying
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


@dataclass(frozen=True)
class PruneCall:
    """The arguments of a call of `prune`, without the scores and the output folder. ``in_memory``: of a table."""

    options: RuleOptions
    require: tuple[str, ...]
    max_source_removal: float
    verify: int
    materialize: bool
    format_name: str
    partial: bool
    dry_run: bool
    shard_rows: int
    engine: Engine
    take_over: bool
    progress: Progress
    in_memory: bool

    @property
    def verifies(self) -> bool:
        """Return whether a sample of the removed duplicates is compared again."""
        return self.options.by == DUPLICATES and self.verify > 0


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


def _prune(scores: Path, out: Path | None, call: PruneCall) -> Pruned:
    """Decide the rows of a folder of scores; write the decisions unless ``out`` is None."""
    options = call.options
    ranks = _ranks(options, required=bool(call.require))
    shards, required = _read_scores(scores, out, call)
    capped = capped_inputs.read(options.caps, scores, shards, partial=call.partial)
    left_out = scored.left_out(scores)

    written = None if call.dry_run else out
    with _workplace(written, call) as place:
        # 1. Find the rows that meet all requirements.
        eligible = _eligible(required, scores, place)
        # 2. Rank them, and decide by their order which are kept.
        ranking = _rank(shards, options, eligible, place, capped) if ranks else None
        # 3. Stop before anything is written if the ranking nearly empties a source.
        if ranking is not None and call.max_source_removal < 1:
            _guard(ranking, eligible, call.max_source_removal)
        # 4. Write the decision of every row.
        if written is not None:
            completion.begin(written, scored.PRUNE_STEP, [shard.relative for shard in shards], partial=call.partial)
            scored.save_decided(written, shards, _arguments(scores, required, ranking, options), place.engine)
            decisions.remove_earlier(written)
        fate = _fate(required, eligible, ranking)
        score_files = decisions.score_file_starts(shards) if ranking is None else ranking.column.files
        ranked_rows = 0 if ranking is None else ranking.column.rows
        # A dry run with an output folder only counts. Without one, the decisions are read back from work files.
        decision_folder = place.folder / DECIDED if out is None else written
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
            notes=required.warnings(),
            dry_run=call.dry_run,
            decided=in_memory.decisions(place.folder / DECIDED) if out is None else None,
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
            command=_command(scores, call.require, options, call.format_name, call.shard_rows),
            shard_rows=call.shard_rows,
            engine=engine,
            progress=call.progress,
            partial_scores=call.partial,
        )
        # What was written is right only if the inputs stayed the same while they were read.
        scored.check_inputs(scores)
    # Last: where there is a pools.json, all that it stands for is in place.
    pools = _pools(scores, out, removal.requirements, ranking, options, removal.by_source, call.partial)
    if pools is not None:
        pools.save(out / POOLS)
    completion.end(out, scored.PRUNE_STEP)
    return replace(pruned, pools=pools)


@contextmanager
def _workplace(out: Path | None, call: PruneCall) -> Iterator[Workplace]:
    """Hold the output folder and the workers.

    Where nothing is written (``out`` None), the folder is left alone, even if another job writes in it.
    """
    engine = call.engine
    if out is None:
        with _work_files("") as place, engine.session(folders=(place,)) as session, ExitStack() as resources:
            yield Workplace(session, place, place, resources)
        return
    # Work files are written and read in many pieces, which an object store cannot do.
    folder = "" if s3.remote(out) else out / manifest.FOLDER / WORK
    # The lock is a file in the output folder, so it comes after all that may refuse that folder. There is one set of
    # workers for all readings: starting them takes seconds.
    with (
        lock.held(out, "prune", take_over=call.take_over, progress=call.progress),
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


def _rank(
    shards: Sequence[Shard],
    options: RuleOptions,
    eligible: Eligible | None,
    place: Workplace,
    capped: Sequence[CappedInput],
) -> RankedDecision:
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
        capped_inputs=capped,
    )
    decision = rules.decide(column, rule, options.caps)
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


def _command(scores: Path, require: Sequence[str], options: RuleOptions, format_name: str, shard_rows: int) -> str:
    """Return the command line of a pruning that writes its rows, for their card."""
    values = {
        "require": list(require),
        **asdict(options),
        "materialize": True,
        "format": format_name,
        "shard_rows": shard_rows,
    }
    defaults = {field.name: field.default for field in fields(RuleOptions)} | {"shard_rows": writer.SHARD_ROWS}
    return card.command("prune", [scores], values, defaults)


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
