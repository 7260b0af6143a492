"""Describe a scoring job, record it in its folder, and compare it with the job recorded there before."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import cast

from curate import open_sets
from curate.scoring import parts
from curate.scoring import specs as scorer_specs
from curate.scoring.carried import CarriedColumn
from curate.storage import artifacts, files, job_record, manifest
from curate.storage.files import content_hash, text_hash
from curate.storage.manifest import Configuration, ManifestEntry
from curate.tables import batches, scored
from curate.tables.reading import Reading
from curate.tables.scored import SCORES
from curate.tables.scored_inputs import scored_rows
from curate.tables.scored_inputs.scored_rows import SCORE_STEP
from curate.tables.shards import Shard


@dataclass(frozen=True)
class ScoringJob:
    """The arguments of a scoring job: shards, scorers (``name:key=value,...``), output folder and reading options.

    If ``quarantine``, bad shards are set aside; otherwise they stop the job. ``carry`` are columns of the inputs that
    are copied into score files. Once the heads of the files are read, ``carried`` has them with their types.
    """

    shards: tuple[Shard, ...]
    specs: tuple[str, ...]
    out: Path
    reading: Reading
    quarantine: bool
    carry: tuple[str, ...] = ()
    carried: tuple[CarriedColumn, ...] = ()

    def output(self, shard: Shard) -> Path:
        """Return the path of a shard's score file."""
        return files.inside(self.out, shard.relative + SCORES)

    @cached_property
    def needs(self) -> tuple[str, ...]:
        """The columns that the scorers read from the data, as far as this is known before they have learned."""
        return tuple(dict.fromkeys((*scorer_specs.columns_read(self.specs), *scorer_specs.vectors_read(self.specs))))

    def columns(self, shard: Shard, *, label: bool) -> tuple[str, ...]:
        """Return the columns of an input file that are read, and those that are copied, such as the class label."""
        copied = (*(("label",) if label else ()), *self.carry)
        return batches.columns_to_read(shard, (*self.needs, *copied), self.reading)

    def same_rows(self, entry: ManifestEntry, source: Path) -> bool:
        """Return whether an input has the rows that an entry records, finished or only begun. The input is read."""
        if entry.rows is not None or entry.format < manifest.ROWS_FORMAT:
            return scored_rows.same_rows(entry, source, self.out, self.reading)
        return parts.match(
            manifest.parts_path(self.out, SCORE_STEP, entry.shard), Shard(source, entry.shard), self.reading
        )

    @property
    def work(self) -> list[manifest.Work]:
        """The (shard, input, output) triples of the manifest."""
        return [(shard.relative, shard.path, self.output(shard)) for shard in self.shards]

    @cached_property
    def arguments(self) -> dict[str, object]:
        """All arguments that decide the bytes of a score file, except the input."""
        return self.arguments_until(len(self.specs))

    @cached_property
    def targets(self) -> dict[str, str]:
        """The content hashes of the files that the options of scorers name, by path."""
        return {str(path): content_hash(path) for path in scorer_specs.files_read(self.specs)}

    def arguments_until(self, position: int) -> dict[str, object]:
        """Return the arguments that decide what the first ``position`` scorers learn and add."""
        return self.arguments_of(self.specs[:position])

    def arguments_of(self, specs: Sequence[str]) -> dict[str, object]:
        """Return the arguments that decide what some of the scorers add, if they read no columns of the others."""
        targets = {str(path): self.targets[str(path)] for path in scorer_specs.files_read(specs)}
        own_files = scorer_specs.own_files([open_sets.parse(spec)[0] for spec in specs])
        return {
            "batch_rows": self.reading.batch_rows,
            "formats": scorer_specs.formats(specs),
            "scorers": list(specs),
            "text_column": self.reading.text_column,
            **self.reading.mapping.record(),
            # Left out where there are none: so a later version may add arguments of this kind without changing the
            # hash of jobs that do not use them.
            **({"dtype": self.reading.dtype} if self.reading.dtype else {}),
            **({"carry": list(self.carry)} if self.carry else {}),
            **({"targets": targets} if targets else {}),
            **({"scorer_files": own_files} if own_files else {}),
        }

    @cached_property
    def config(self) -> str:
        """The hash of the arguments."""
        return text_hash(repr(sorted(self.arguments.items())))

    def configuration(self) -> Configuration:
        """Return the hash of the arguments, and how they differ from those in ``score.json`` at present."""
        record = recorded(self.out)
        if record is None:
            return Configuration(self.config)
        return Configuration(self.config, self.changes(record), covers_old_entries=is_old(record))

    def changes(self, record: dict[str, object]) -> list[str]:
        """Return one phrase for each argument that differs from those in ``score.json``."""
        arguments = self.arguments
        # A mapping of columns and carried columns are recorded only where there are some.
        optional: dict[str, object] = {name: record[name] for name in ("columns", "join", "render") if name in record}
        if "carry" in record:
            optional["carry"] = sorted(recorded_types(record))
        before = {name: record.get(name) for name in arguments} | optional
        # Records of format 1 have no format numbers; all were 1. Numbers of scorers that are new in this job are left
        # out, since the change of scorers is named already.
        numbers = cast(dict[str, int], record.get("formats", {}))
        before["formats"] = {
            name: numbers.get(name, 1 if is_old(record) else number)
            for name, number in cast(dict[str, int], arguments["formats"]).items()
        }
        return job_record.argument_changes(_in_words(before), _in_words(arguments))

    def save(self, data: Sequence[str], token_counts: str) -> None:
        """Write ``score.json``, from which a later call continues the job and finds the input files.

        ``token_counts`` says where the counts of tokens come from: see `curate.tables.token_counts`.
        """
        # The largest size of a text decides only which lines are bad, so it may change when a job goes on.
        record = {"data": list(data), "document_bytes": self.reading.document_bytes, **self.arguments}
        record["tokens"] = token_counts
        if self.carried:
            # With their types, so that files that are added later get the same.
            record["carry"] = {column.name: str(column.dtype) for column in self.carried}
        artifacts.save(scored.record_path(self.out), "score_job", record)


def _in_words(arguments: dict[str, object]) -> dict[str, object]:
    """Return arguments with the mapped columns as the user writes them."""
    columns = arguments.get("columns")
    if not isinstance(columns, dict):
        return arguments
    return {**arguments, "columns": [f"{name}={written}" for name, written in sorted(columns.items())]}


def recorded_types(record: Mapping[str, object]) -> dict[str, str]:
    """Return the types of the carried columns that ``score.json`` records, by column; none where none is carried."""
    return cast(dict[str, str], record.get("carry", {}))


def recorded(out: Path) -> dict[str, object] | None:
    """Return the record of the job that made a score folder, or None if there is none."""
    return scored.job(out) if files.exists(scored.record_path(out)) else None


def is_old(record: dict[str, object]) -> bool:
    """Return whether a record has format 1. Such jobs were compared by the version and the code of scorers."""
    return "formats" not in record


def stamp(path: Path) -> str:
    """Return the stamp of an input file, which changes when the file is written; empty if the file is gone."""
    return files.stamp(path) if files.exists(path) else ""


def set_aside(out: Path, shard: Shard, reason: str, input_stamp: str) -> None:
    """Record in the folder ``out`` that a shard was set aside, and why.

    ``input_stamp`` is the stamp of the shard's input file (`stamp`).
    """
    manifest.set_aside(out, manifest.SetAside(SCORE_STEP, shard.relative, reason, input_stamp))
