"""Batches through scorers: one score file per input file, resumable shard by shard."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from inspect import signature
from pathlib import Path
from typing import cast

import numpy as np
import polars as pl

from curate import __version__, artifacts, manifest, plugins, rows, tables
from curate.engines import Engine
from curate.engines.local import Local
from curate.errors import Interrupted, SchemaError
from curate.files import content_hash, replacing, sweep, text_hash
from curate.rows import SCORES, Progress, silent
from curate.scorers import Scorer
from curate.tables import Shard

STEP = "score"


@dataclass(frozen=True)
class Task:
    """One shard through all scorers: everything a worker needs."""

    shard: Shard
    output: Path
    scorers: tuple[Scorer, ...]
    text_column: str
    batch_rows: int


def score(
    data: Sequence[str],
    specs: Sequence[str],
    out: Path,
    *,
    text_column: str = "text",
    batch_rows: int = tables.BATCH_ROWS,
    engine: Engine | None = None,
    restart: bool = False,
    progress: Progress = silent,
) -> int:
    """Score every example in ``data`` with the scorers ``specs`` (``name:key=value,...``) and return the rows scored.

    Scorers run in the given order and see the columns of the earlier ones. Learned scorers learn first, on the whole
    stream; what they learned is kept in ``out``. Call again with the same arguments to continue.
    """
    found = tables.shards(data)
    _check_outputs(specs)
    for shard in found:
        tables.require(shard, _first_needs(specs, text_column))
    config = configuration(specs, text_column, batch_rows)
    work = [(s.relative, s.path, out / (s.relative + SCORES)) for s in found]
    todo = {name for name, _, _ in manifest.pending(out, STEP, work, config, restart=restart)}
    sweep(out, SCORES)
    sweep(out / manifest.FOLDER)
    if restart:
        for learned in _learned(out).glob("*.npz"):
            learned.unlink()
    scorers = prepare(found, specs, out, text_column=text_column, batch_rows=batch_rows, fresh=len(todo) == len(found))
    artifacts.save(
        out / manifest.FOLDER / "score.json",
        {"data": list(data), "text_column": text_column, "batch_rows": batch_rows, "scorers": list(specs)},
    )
    outputs = {name: output for name, _, output in work}
    tasks = [Task(s, outputs[s.relative], scorers, text_column, batch_rows) for s in found if s.relative in todo]
    total = 0
    sources = {s.relative: s.path for s in found}
    progress("score", len(found) - len(tasks), len(found))
    for done, (name, count) in enumerate((engine or Local()).run(score_shard, tasks), start=1):
        manifest.record(out, STEP, name, sources[name], config=config, rows=count)
        total += count
        progress("score", len(found) - len(tasks) + done, len(found))
    return total


def configuration(specs: Sequence[str], text_column: str, batch_rows: int) -> str:
    """Return the hash of everything but the input that decides a score file's bytes."""
    return text_hash(repr((__version__, tuple(specs), text_column, batch_rows)))


def status(out: Path) -> list[dict[str, str]]:
    """Return shard, state (done, to do, or refused) and why, for every shard of the job in ``out``."""
    asked = rows.job(out)
    config = configuration(cast(list[str], asked["scorers"]), str(asked["text_column"]), cast(int, asked["batch_rows"]))
    result = []
    for shard in tables.shards(cast(list[str], asked["data"])):
        entry = manifest.read(out, STEP, shard.relative)
        if entry is None or not (out / (shard.relative + SCORES)).is_file():
            result.append({"shard": shard.relative, "state": "to do", "why": ""})
        else:
            why = "; ".join(manifest.changes(entry, shard.path, config))
            result.append({"shard": shard.relative, "state": "refused" if why else "done", "why": why})
    return result


def score_shard(task: Task) -> tuple[str, int]:
    """Score one shard into its output file (atomic); return its name and row count."""
    schema = {"id": pl.String(), "source": pl.String(), "tokens": pl.Int64()}
    for scorer in task.scorers:
        schema |= scorer.schema
    return task.shard.relative, tables.write(task.output, _scored(task), schema=schema)


def _scored(task: Task) -> Iterator[pl.DataFrame]:
    needs = _inputs(task.scorers)
    for batch in tables.batches(task.shard, needs, rows=task.batch_rows, text_column=task.text_column):
        full = apply(task.scorers, batch)
        added = [name for scorer in task.scorers for name in scorer.schema]
        yield full.select("id", "source", "tokens", *added)


def apply(scorers: Sequence[Scorer], batch: pl.DataFrame) -> pl.DataFrame:
    """Add the columns of every scorer, each seeing those of the earlier ones; check that all are finite."""
    for scorer in scorers:
        batch = batch.hstack(scorer(batch))
        for name in scorer.schema:
            good = tables.finite(batch[name])
            if not good.all():
                what, row = "score" if name.startswith("score.") else "vector", batch["id"][int(good.argmin())]
                raise SchemaError(
                    f"{name} is not a finite number in {int((~good).sum())} rows, the first with id {row!r}: "
                    f"fix its input, or leave out the scorer that makes this {what}"
                )
    return batch


def prepare(
    found: Sequence[Shard], specs: Sequence[str], out: Path, *, text_column: str, batch_rows: int, fresh: bool
) -> tuple[Scorer, ...]:
    """Build the scorers in order; those that learn do so on the stream, or reload what they learned for this input.

    Not ``fresh`` (some shards are scored already): what was learned from other inputs is refused, for scores of two
    learned scorers cannot be compared.
    """
    scorers: tuple[Scorer, ...] = ()
    inputs: list[str] = []
    for position, spec in enumerate(specs):
        name, _ = plugins.parse(spec)
        if not hasattr(plugins.module("scorers", name), "learn"):
            scorers += (cast(Scorer, plugins.build("scorers", spec)),)
            continue
        inputs = inputs or [content_hash(s.path) for s in found]
        key = text_hash(repr((__version__, tuple(specs[: position + 1]), text_column, batch_rows, inputs)))
        path = _learned(out) / f"{position}-{name}-{key[:16]}.npz"
        if not fresh and not path.is_file() and any(_learned(out).glob(f"{position}-{name}-*.npz")):
            raise Interrupted(
                f"{out}: scorer {name} learned from other input files than these, and some shards are scored with it. "
                "Give --restart to learn and score again, or another --out"
            )
        scorers += (_learn(spec, scorers, found, path, text_column=text_column, batch_rows=batch_rows),)
    read = set(_inputs(scorers))
    if clash := sorted(read & {column for scorer in scorers for column in scorer.schema}):
        raise SchemaError(f"{clash[0]} is read from the data by one scorer and made by a later one: change their order")
    return scorers


def _learned(out: Path) -> Path:
    return out / manifest.FOLDER / "learned"


def _check_outputs(specs: Sequence[str]) -> None:
    """Refuse two scorers that add the same column, before any work; also names and options that do not exist."""
    makers: dict[str, str] = {}
    for spec in specs:
        name, _ = plugins.parse(spec)
        learns = hasattr(plugins.module("scorers", name), "learn")
        made = plugins.implementation("scorers", name) if learns else plugins.build("scorers", spec)
        schema = getattr(made, "schema", ())
        for column in schema if isinstance(schema, Mapping) else ():  # of a class it may be known only once learned
            if column in makers:
                raise SchemaError(f"scorers {makers[column]} and {spec} both make {column}: leave one out")
            makers[column] = spec


def _learn(
    spec: str, earlier: tuple[Scorer, ...], found: Sequence[Shard], path: Path, *, text_column: str, batch_rows: int
) -> Scorer:
    name, options = plugins.parse(spec)
    cls, learn = plugins.implementation("scorers", name), plugins.module("scorers", name).learn
    known = [key for key in signature(learn).parameters if key != "stream"]
    if unknown := sorted(set(options) - set(known)):
        raise SchemaError(f"scorer {name} has no option {unknown[0]!r}: it takes {', '.join(known)}")
    if path.is_file():
        plain = {f.name for f in fields(cls)} & set(options)
        with np.load(path, allow_pickle=False) as saved:
            return cast(Scorer, cls(**dict(saved.items()), **{k: options[k] for k in plain}))

    def stream(needs: Sequence[str]) -> Iterator[pl.DataFrame]:
        made = {column for scorer in earlier for column in scorer.schema}
        wanted = dict.fromkeys((*_inputs(earlier), *(n for n in needs if n not in made)))
        for shard in found:
            for batch in tables.batches(shard, tuple(wanted), rows=batch_rows, text_column=text_column):
                yield apply(earlier, batch)

    scorer = learn(stream, **options)
    with replacing(path) as temporary, temporary.open("wb") as handle:
        np.savez(handle, **scorer.arrays)
    return cast(Scorer, scorer)


def _inputs(scorers: Sequence[Scorer]) -> tuple[str, ...]:
    """Return the columns that must come from the file: needed, and not made by an earlier scorer."""
    made: set[str] = set()
    needed: dict[str, None] = {}
    for scorer in scorers:
        needed |= {n: None for n in scorer.needs if n not in made and n not in ("id", "source", "tokens")}
        made |= set(scorer.schema)
    return tuple(needed)


def _first_needs(specs: Sequence[str], text_column: str) -> tuple[str, ...]:
    """Return what the first scorer reads, when that is known before it exists."""
    cls = plugins.implementation("scorers", plugins.parse(specs[0])[0])
    needs = getattr(cls, "needs", ())
    needs = needs if isinstance(needs, tuple) else ()  # a learned scorer says what it reads once it exists
    return tuple(text_column if n == "text" else n for n in needs)
