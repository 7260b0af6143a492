"""Load trainers with their data: the texts or embeddings of pools and targets, read into memory."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np
import polars as pl
import xxhash

from curate import open_sets
from curate.errors import SchemaError
from curate.pool.pool import Pool
from curate.storage.files import text_hash
from curate.tables import batches, frames, scored
from curate.tables.frames import Table
from curate.tables.reading import Reading
from curate.tables.scored_inputs.pool_reading import pool_reading
from curate.tables.shards import Shard
from curate.trainers import Trainer
from curate.trainers.command import Command
from curate.trainers.linear import Examples, Linear
from curate.trainers.tiny import Tiny

HELD_OUT = 0.05  # of each pool's text becomes an eval if no target is named: enough bytes, and little less to train on
IN_MEMORY = Path("the target in memory")  # stands for its file in messages
IN_MEMORY_SHARD = Shard(IN_MEMORY, "")


@dataclass(frozen=True)
class Source:
    """Rows to train on or to measure: on disk, or in memory. ``reading`` says how they are read."""

    name: str
    rows: Pool | pl.DataFrame
    reading: Reading

    @property
    def columns(self) -> Collection[str]:
        """The columns of the rows, by the names that jobs use."""
        if isinstance(self.rows, pl.DataFrame):
            return batches.table_head(self.rows, self.reading, IN_MEMORY).columns
        return batches.columns(batches.shards(self.rows.where)[0], self.reading)


@dataclass(frozen=True)
class LoadedTrainer:
    """A trainer with its data.

    ``unique`` are the unique tokens that it has of each pool. ``data_hash`` is a hash of all it trains on. ``notes``
    say what was left out.
    """

    trainer: Trainer
    unique: Mapping[str, float]
    data_hash: str
    notes: tuple[str, ...] = ()

    def on_hand(self, pools: Sequence[Pool]) -> list[Pool]:
        """Return pools with the number of tokens that the trainer can use, without held-out tokens.

        Pools of which the trainer has nothing are left out.
        """
        return [replace(pool, tokens=self.unique[pool.name]) for pool in pools if pool.name in self.unique]


def load(
    spec: str, pools: Sequence[Pool], targets: Mapping[str, Table], reading: Reading = batches.READING
) -> LoadedTrainer:
    """Return the trainer that ``spec`` names, with the data of ``pools`` and of ``targets``.

    ``spec`` is tiny, linear, command:PROGRAM, or a class of the user's own, path/to/file.py:ClassName, with options as
    in tiny:rate=0.004. ``targets`` are held-out examples by eval name, as a path or in memory. If there are none, the
    last 5 % of every pool become an eval of its name. A program or a class of the user's own reads its data itself.
    ``reading`` says which columns the files have: see `pool_reading`.

    Raises:
        SchemaError: a trainer without ``train``, an unknown option, or data that the trainer cannot use.
        CurateError: an unknown trainer, or a file of the user's own that cannot be used.
    """
    # The program may contain commas and equal signs, so its options are not parsed.
    kind, _, program = spec.partition(":")
    if kind == "command":
        if not program.strip():
            raise SchemaError("trainer command needs a program: write command:PROGRAM, as in 'command:python train.py'")
        return LoadedTrainer(Command(program), _whole(pools), text_hash(spec))
    name, options = open_sets.parse(spec)
    if name not in ("tiny", "linear"):
        return LoadedTrainer(_own(spec), _whole(pools), _code_hash(name, spec))
    open_sets.check_options(name, options, open_sets.option_types("trainers", name))
    paths = [str(target) for target in targets.values() if not frames.in_memory(target)]
    readings = pool_reading(pools, paths, reading)
    sources = [Source(pool.name, pool, readings.of(pool)) for pool in pools]
    goals = {eval_name: _target(eval_name, target, readings.targets) for eval_name, target in targets.items()}
    if name == "tiny":
        read = {source.name: _text(source) for source in sources}
        full = {pool: text.data for pool, text in read.items() if not text.is_empty}
        if not full:
            raise SchemaError("all texts of all pools are empty or null. Name pools with text")
        texts, evals = _split(full, {eval_name: _text(source).data for eval_name, source in goals.items()})
        tiny = Tiny(texts, evals, **options)  # type: ignore[arg-type]
        inputs = {**texts, **{f"eval {n}": data for n, data in evals.items()}}
        if tiny.start:
            # The model that training continues from decides the losses as the data does.
            inputs["start"] = np.frombuffer(_saved(tiny.start), dtype=np.uint8)
        unique = {n: float(count) for n, count in tiny.unique.items()}
        return LoadedTrainer(tiny, unique, _digest(inputs, spec), _notes(read))
    examples = {source.name: _examples(source) for source in sources}
    held_out = {n: _examples(source) for n, source in goals.items()}
    if not held_out:
        raise SchemaError("trainer linear needs --target NAME=DATA with emb.* and label columns")
    linear = Linear(examples, held_out, **options)  # type: ignore[arg-type]
    features = {n: x.view(np.uint8) for n, (x, _) in (*examples.items(), *held_out.items())}
    return LoadedTrainer(linear, {n: float(count) for n, count in linear.unique.items()}, _digest(features, spec))


def _own(spec: str) -> Trainer:
    """Return the trainer of a user's file or of an installed package, built from its options alone."""
    trainer = open_sets.build("trainers", spec)
    if not callable(getattr(trainer, "train", None)):
        raise SchemaError(f"trainer {spec!r} has no method train(weights, budget, *, seed, unique): add it")
    return cast("Trainer", trainer)


def _whole(pools: Sequence[Pool]) -> dict[str, float]:
    """Return the tokens of every pool: all of them are on hand."""
    return {pool.name: float(pool.tokens) for pool in pools}


def _code_hash(name: str, spec: str) -> str:
    """Return a hash of the specification and of the file of the class, so that edited code does not resume old runs."""
    path = open_sets.module("trainers", name).__file__
    return _digest({} if path is None else {"code": np.frombuffer(Path(path).read_bytes(), dtype=np.uint8)}, spec)


def _target(name: str, target: Table, reading: Reading) -> Source:
    """Return a target as a pool of its files, or as a frame."""
    rows = frames.frame(target) if frames.in_memory(target) else Pool(name, 1, where=(str(target),))
    return Source(name, rows, reading)


def _rows(source: Source, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
    rows = source.rows
    if isinstance(rows, Pool):
        yield from scored.pool_batches(rows, columns, source.reading)
        return
    table_head = batches.table_head(rows, source.reading, IN_MEMORY)
    batches.require(IN_MEMORY_SHARD, columns, table_head)
    yield from batches.from_table(rows, columns, IN_MEMORY, table_head)


@dataclass(frozen=True)
class _PoolText:
    """All texts of a source as bytes (n,), and how many were left out because they are null."""

    data: np.ndarray
    nulls: int

    @property
    def is_empty(self) -> bool:
        """Return whether there is nothing but the line breaks between texts."""
        return not (self.data != ord("\n")).any()


def _text(source: Source) -> _PoolText:
    """Return all texts of a source, one after the other with a line break between."""
    texts, nulls = list[str](), 0
    for batch in _rows(source, ("text",)):
        nulls += batch["text"].null_count()
        texts += batch["text"].drop_nulls().to_list()
    return _PoolText(np.frombuffer("\n".join(texts).encode(), dtype=np.uint8), nulls)


def _notes(read: Mapping[str, _PoolText]) -> tuple[str, ...]:
    """Return a line for each pool without text, and for each with null texts."""
    notes = []
    for name, text in read.items():
        if text.is_empty:
            notes.append(f"pool {name!r} is left out: all its texts are empty or null")
        elif text.nulls:
            notes.append(f"{text.nulls} rows of pool {name!r} are not trained on, because their text is null")
    return tuple(notes)


def _split(
    texts: dict[str, np.ndarray], targets: dict[str, np.ndarray]
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return the texts to train on and the evals."""
    if targets:
        return texts, targets
    cut = {name: len(data) - int(HELD_OUT * len(data)) for name, data in texts.items()}
    return {n: x[: cut[n]] for n, x in texts.items()}, {n: x[cut[n] :] for n, x in texts.items()}


def _saved(start: str) -> bytes:
    try:
        return Path(start).read_bytes()
    except OSError as error:
        raise SchemaError(f"start={start} cannot be read ({error.strerror}): give a saved model") from None


def _examples(source: Source) -> Examples:
    """Return the embeddings (n, d) and labels (n,) of a source."""
    name = source.name
    embeddings = [column for column in source.columns if column.startswith("emb.")]
    if not embeddings:
        raise SchemaError(f"pool {name!r} has no emb.* column, which trainer linear needs")
    parts = [(batch[embeddings[0]].to_numpy(), batch["label"]) for batch in _rows(source, (embeddings[0], "label"))]
    if not parts:
        raise SchemaError(f"pool {name!r} has no rows to train on")
    features, labels = zip(*parts, strict=True)
    if nulls := sum(column.null_count() for column in labels):
        raise SchemaError(f"pool {name!r} has {nulls} rows whose label is null. Label those rows or remove them")
    return np.concatenate(features), np.concatenate([column.to_numpy() for column in labels])


def _digest(arrays: Mapping[str, np.ndarray], spec: str) -> str:
    digest = xxhash.xxh3_128(spec.encode())
    # In the order of names, so that the order of pools in the file does not matter.
    for name in sorted(arrays):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(arrays[name]).tobytes())
    return digest.hexdigest()
