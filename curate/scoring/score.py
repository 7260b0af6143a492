"""Batches through scorers: one score file per input file, resumable within a file, bad files set aside."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import cast

from curate import __version__, open_sets
from curate.engines import Engine
from curate.engines.local import Local
from curate.errors import Interrupted, SchemaError
from curate.progress import Progress, silent
from curate.scorers import Scorer
from curate.scoring import learned, preflight, worker
from curate.scoring.inferred_options import accepted, answered
from curate.scoring.learned import Lesson
from curate.scoring.preflight import Preflight
from curate.scoring.worker import Outcome, Task
from curate.storage import artifacts, files, manifest
from curate.storage.files import content_hash, sweep, text_hash
from curate.storage.manifest import Bad
from curate.tables import batches, scored, writer
from curate.tables.readers import DOCUMENT_BYTES
from curate.tables.scored import SCORE_STEP, SCORES
from curate.tables.shards import Shard


@dataclass(frozen=True)
class Job:
    """What is to be scored, how and where to; ``quarantine`` sets bad shards aside instead of failing."""

    found: tuple[Shard, ...]
    specs: tuple[str, ...]
    out: Path
    text_column: str
    batch_rows: int
    document_bytes: int
    quarantine: bool

    @property
    def work(self) -> list[manifest.Work]:
        """The (shard, input, output) triples of the manifest."""
        return [(s.relative, s.path, files.inside(self.out, s.relative + SCORES)) for s in self.found]

    @cached_property
    def asked(self) -> dict[str, object]:
        """Everything but the input and the version that decides a score file's bytes."""
        code: dict[str, str] = {}
        for spec in self.specs:
            code |= scorer_code(spec)
        return {
            "batch_rows": self.batch_rows,
            "code": code,
            "scorers": list(self.specs),
            "text_column": self.text_column,
        } | ({"targets": targets} if (targets := read_too(self.specs)) else {})

    @property
    def config(self) -> str:
        """The hash of ``asked``."""
        return text_hash(repr(sorted(self.asked.items())))


@dataclass(frozen=True)
class Scored:
    """What a run did: rows scored now, shards in all, what preflight warned of, and shards set aside with reasons."""

    rows: int
    shards: int
    warnings: tuple[str, ...]
    quarantined: Mapping[str, str]


def score(
    data: Sequence[str],
    specs: Sequence[str],
    out: Path,
    *,
    text_column: str = "text",
    batch_rows: int = batches.BATCH_ROWS,
    document_bytes: int = DOCUMENT_BYTES,
    quarantine: bool = False,
    engine: Engine | None = None,
    restart: bool = False,
    progress: Progress = silent,
) -> Scored:
    """Score every example in ``data`` with the scorers ``specs`` (``name:key=value,...``); say what was done.

    Scorers run in the given order and see the columns of the earlier ones. Learned scorers learn first, on the whole
    stream; what they learned is kept in ``out``. Call again with the same arguments to continue; shards that were set
    aside are tried again.
    """
    engine = engine or Local()
    _check_outputs(specs)
    found = batches.shards(data)
    specs = answered(specs, found)
    job = Job(found, specs, out, text_column, batch_rows, document_bytes, quarantine)
    seen = _inspect(job)
    why = _why(job)
    todo = {name for name, _, _ in manifest.pending(out, SCORE_STEP, job.work, job.config, why=why, restart=restart)}
    sweep(out, SCORES)
    sweep(out / manifest.FOLDER)
    if restart:
        files.remove(learned.folder(out))
    bad = dict(seen.bad)
    scorers = _prepared(job, bad, engine, progress, fresh=len(todo) == len(job.found))
    artifacts.save(
        out / manifest.FOLDER / "score.json", "score_job", {"data": list(data), "version": __version__, **job.asked}
    )
    for name, reason in bad.items():
        manifest.set_aside(out, Bad(SCORE_STEP, name, reason, _stamp(job, name)))
    left = [s for s in job.found if s.relative in todo and s.relative not in bad]
    total, more = _run(job, left, seen, scorers, engine, progress)
    return Scored(total, len(job.found), seen.warnings, dict(sorted({**bad, **more}.items())))


def _inspect(job: Job) -> Preflight:
    """Read the heads of all shards; a bad one is an error unless it can be set aside and others are good."""
    needs = _known_needs(job.specs, job.text_column)
    seen = preflight.inspect(job.found, needs, used=(job.text_column, *needs, *_vectors(job.specs)))
    if seen.bad and (not job.quarantine or not seen.heads):
        raise SchemaError(next(iter(seen.bad.values())))
    return seen


def _prepared(job: Job, bad: dict[str, str], engine: Engine, progress: Progress, *, fresh: bool) -> tuple[Scorer, ...]:
    """Return the scorers, ready; those that learn do so on the good shards, and the bad ones found go to ``bad``."""
    good = tuple(s for s in job.found if s.relative not in bad)
    digests: dict[str, str] = {}
    if any(map(learned.learns, job.specs)):
        plain = next(i for i, spec in enumerate(job.specs) if learned.learns(spec))
        earlier = tuple(cast(Scorer, open_sets.build("scorers", spec)) for spec in job.specs[:plain])
        checks = [replace(_task(job, s, earlier), also=_vectors(job.specs)) for s in good]
        progress("check", 0, len(checks))
        for done, outcome in enumerate(engine.run(worker.check_task, checks), start=1):
            progress("check", done, len(checks))
            if outcome.reason is None:
                digests[outcome.shard] = outcome.digest
            else:
                bad[outcome.shard] = outcome.reason
        good = tuple(s for s in good if s.relative not in bad)
        if bad and not good:
            raise SchemaError(next(iter(bad.values())))
    lesson = Lesson(good, digests, tuple(sorted(bad)), job.specs, job.text_column, job.batch_rows, job.document_bytes)
    return learned.prepare(lesson, job.out, fresh=fresh)


def _task(job: Job, shard: Shard, scorers: tuple[Scorer, ...]) -> Task:
    return Task(
        shard, files.inside(job.out, shard.relative + SCORES), scorers, job.text_column, job.batch_rows,
        job.document_bytes, quarantine=job.quarantine,
    )  # fmt: skip


def _run(
    job: Job, left: Sequence[Shard], seen: Preflight, scorers: tuple[Scorer, ...], engine: Engine, progress: Progress
) -> tuple[int, dict[str, str]]:
    """Score what is left; return the rows scored now and the shards set aside with their reasons."""
    listed = files.each(lambda shard: list(_tasks(job, shard, seen, scorers)), left, job.found[0].path)
    tasks = [task for mine in listed for task in mine]
    open_tasks: dict[str, list[Task]] = {}
    for task in tasks:
        open_tasks.setdefault(task.shard.relative, []).append(task)
    outcomes: dict[str, list[Outcome]] = {}
    bad: dict[str, str] = {}
    total = 0
    unit, every, each = _units(job, left, seen)
    done = every - sum(each[shard.relative] for shard in left)
    progress(unit, done, every)
    shared = partial(worker.score_task, scorers)  # an engine that knows how sends them to a machine once
    for outcome in engine.run(shared, [replace(task, scorers=()) for task in tasks]):
        mine = outcomes.setdefault(outcome.shard, [])
        mine.append(outcome)
        total += outcome.rows
        here, parts = each[outcome.shard], len(open_tasks[outcome.shard])
        done += here * len(mine) // parts - here * (len(mine) - 1) // parts
        progress(unit, done, every)
        if len(mine) < len(open_tasks[outcome.shard]):
            continue
        task = open_tasks[outcome.shard][0]
        if reason := next((one.reason for one in mine if one.reason), None):
            bad[outcome.shard] = reason
            manifest.set_aside(job.out, Bad(SCORE_STEP, outcome.shard, reason, task.stamp))
        else:
            _finish(job, task, mine)
    return total, bad


def _units(job: Job, left: Sequence[Shard], seen: Preflight) -> tuple[str, int, dict[str, int]]:
    """Return what progress counts, how much there is in all, and in each shard: rows where all files say how many."""
    if seen.rows:
        return "rows scored", seen.rows, {name: head.rows or 0 for name, head in seen.heads.items()}
    return "files scored", len(job.found), {shard.relative: 1 for shard in left}


def _finish(job: Job, task: Task, mine: Sequence[Outcome]) -> None:
    """Join the parts, if no worker saw them all, and record that the shard is done."""
    name, rows_written = task.shard.relative, sum(one.rows for one in mine)
    if task.parts is not None:
        parts = worker.complete(task.parts, task.spans)
        if parts is None:
            raise Interrupted(f"{task.parts}: parts are missing; was the folder changed? Run the same command again")
        rows_written = sum(map(writer.part_rows, parts))
        if not any(one.whole for one in mine):
            writer.join(task.output, parts, worker.schema(task.scorers, label=task.label))
    digest = mine[0].digest
    done = manifest.entry(SCORE_STEP, name, task.shard.path, digest=digest, config=job.config, rows=rows_written)
    manifest.record(job.out, replace(done, stamp=task.stamp))


def _tasks(job: Job, shard: Shard, seen: Preflight, scorers: tuple[Scorer, ...]) -> Iterator[Task]:
    """Yield the tasks of a shard: one, or for a long one, a task for every few row groups."""
    stamp, head = files.stamp(shard.path), seen.heads[shard.relative]
    task = replace(_task(job, shard, scorers), stamp=stamp, label=worker.labelled(head))
    if not worker.is_long(shard, head):
        yield task
        return
    entry = manifest.begun(job.out, SCORE_STEP, shard.relative)
    if entry is None:
        digest = content_hash(shard.path)
        entry = manifest.entry(SCORE_STEP, shard.relative, shard.path, digest=digest, config=job.config, rows=None)
        files.remove(manifest.parts_path(job.out, SCORE_STEP, shard.relative))
        manifest.record(job.out, entry)
    spans, parts = worker.spans(head), manifest.parts_path(job.out, SCORE_STEP, shard.relative)
    for start, stop in spans:
        yield replace(task, digest=entry.input, start=start, stop=stop, parts=parts, spans=spans)


def _why(job: Job) -> list[str]:
    """Say what differs between the job that ``out`` was made by and this one."""
    try:
        before = scored.job(job.out)
    except Interrupted:
        return []
    return manifest.differences({k: before.get(k) for k in job.asked}, job.asked)


def _stamp(job: Job, name: str) -> str:
    path = next(s.path for s in job.found if s.relative == name)
    return files.stamp(path) if files.exists(path) else ""


def _check_outputs(specs: Sequence[str]) -> None:
    """Refuse two scorers that add the same column, before any work; also names and options that do not exist."""
    makers: dict[str, str] = {}
    for spec in specs:
        if learned.learns(spec):
            learned.check(spec)
            made: object = open_sets.implementation("scorers", open_sets.parse(spec)[0])
        else:
            made = open_sets.build("scorers", spec)
        schema = getattr(made, "schema", ())
        for column in schema if isinstance(schema, Mapping) else ():  # of a class it may be known only once learned
            if column in makers:
                raise SchemaError(f"scorers {makers[column]} and {spec} both make {column}: leave one out")
            makers[column] = spec


def scorer_code(spec: str) -> dict[str, str]:
    """Return the content hashes of the open-set files that a scorer is: its own, and its encoder's."""
    name, options = open_sets.parse(spec)
    found = [("scorers", name)]
    encoder = options.get("encoder", getattr(open_sets.implementation("scorers", name), "encoder", None))
    if isinstance(encoder, str):
        found.append(("encoders", encoder))
    return {f"{folder}/{one}": content_hash(Path(str(open_sets.module(folder, one).__file__))) for folder, one in found}


def read_too(specs: Sequence[str]) -> dict[str, str]:
    """Return the content hashes of files given as ``target``, ``path`` or ``model``: they decide scores too."""
    asked = [options for _, options in map(open_sets.parse, specs)]
    named = sorted({str(options["target"]) for options in asked if options.get("target")})
    read = [shard.path for shard in (batches.shards(named) if named else ())]
    given = {str(options[key]) for options in asked for key in ("path", "model") if options.get(key)}
    for path in sorted(given):
        read += [file for file, _ in files.listed(path)]  # a table, or the folder of a model
    return {str(path): content_hash(path) for path in read}


def _vectors(specs: Sequence[str]) -> tuple[str, ...]:
    """Return the vector columns that learned scorers are told to read from the data."""
    made = [
        f"emb.{options.get('encoder', 'hashed')}"
        for name, options in map(open_sets.parse, specs)
        if name == "embedding"
    ]
    read = [str(options["embedding"]) for _, options in map(open_sets.parse, specs) if "embedding" in options]
    return tuple(dict.fromkeys(name for name in read if name not in made))


def _known_needs(specs: Sequence[str], text_column: str) -> tuple[str, ...]:
    """Return the columns that must come from the data, as far as known before scorers have learned.

    A scorer that learns says what it reads by its class, by an option ``embedding`` and by ``LEARNS_FROM`` in its file.
    """
    made: set[str] = set()
    needed: dict[str, None] = {}
    for spec in specs:
        name, options = open_sets.parse(spec)
        module, scorer = open_sets.module("scorers", name), open_sets.implementation("scorers", name)
        built = scorer if learned.learns(spec) else open_sets.build("scorers", spec)
        needs, schema = getattr(built, "needs", ()), getattr(built, "schema", {})
        mine = [*(needs if isinstance(needs, tuple) else ()), *getattr(module, "LEARNS_FROM", ())]
        mine += [str(v) for k, v in {**accepted(spec), **options}.items() if k == "embedding"]
        needed |= {n: None for n in mine if n not in made and n not in batches.IDENTITY}
        made |= set(schema if isinstance(schema, Mapping) else ())
        made |= set(module.makes(options) if hasattr(module, "makes") else ())
    return tuple(text_column if n == "text" else n for n in needed)
