"""The job `why`: tell every score, requirement and rule behind the fate of a row.

In: the folder of `prune`, `run` or `score`, and ids of rows. Out: `Fates`, one record a row.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import polars as pl

from curate.answers import near_copies, requirement_results, score_ranks
from curate.answers.fates import Fates, FilledCap, RankedScore, RowFate, StandingScore, is_kept
from curate.answers.row_places import RowPlace, row_at, row_places
from curate.engines import Engine
from curate.engines.local import Local
from curate.errors import SchemaError, first_few
from curate.pruning.budgets.caps import CAP
from curate.storage import artifacts, files, job_record
from curate.tables import batches, meanings, scored
from curate.tables.scored import DECISIONS
from curate.tables.shards import Shard

VECTORS = ("emb.", "logits.", "probs.")  # columns of vectors, which nobody reads
INSIDE = ("kept", "scores")  # folders that the output of `curate run` has


@dataclass(frozen=True)
class Folders:
    """The score folder, and that of the decisions (None: nothing was decided yet) with the arguments of the pruning."""

    scores: Path
    kept: Path | None
    arguments: Mapping[str, object]

    @property
    def by(self) -> str:
        """Return the score of the ranked decision; "" without one."""
        return str(self.arguments.get("by") or "")

    @property
    def requirements(self) -> tuple[str, ...]:
        """Return the conditions, in their order."""
        return tuple(cast(list[str], self.arguments.get("require", [])))


def why(
    folder: str | Path, ids: str | Sequence[str], *, scores: str | Path | None = None, engine: Engine | None = None
) -> Fates:
    """Return why rows were kept or removed: their scores, the requirements that they meet, their rank and near copies.

    Args:
        folder: the output of `prune` or of `run`, or a score folder, whose rows have no fate yet.
        ids: one id or several, as in the column ``id`` of the score files.
        scores: the score folder, if it was moved since it was pruned.
        engine: where to read files; None reads them in this process.

    Raises:
        SchemaError: if no row has an id, the folder has neither decisions nor scores, or score files were moved or
            changed. Inputs may be gone: then a note says which.
        Unfinished: if the job `prune` has not ended in the folder.
    """
    names = tuple(dict.fromkeys([ids] if isinstance(ids, str) else ids))
    if not names:
        raise SchemaError("no ids: name one row or more, by the column id of the score files")
    folders = _folders(Path(folder), None if scores is None else Path(scores))
    with (engine or Local()).session() as session:
        shards = _shards(folders)
        places = row_places(names, shards, session)
        frames = [row_at(place, place.shard, _columns(place.shard)) for place in places]
        standing = _standing(frames, shards, session)
        copies = near_copies.near_copies(names, folders.scores, folders.kept, shards, session)
        requirements = requirement_results.read(folders.requirements, folders.scores, shards)
        cut = None
        if folders.by and folders.kept is not None:
            cut = score_ranks.cut(folders.by, _ranked_reason(folders), shards, folders.kept, session)
        fates, unread = [], dict[str, list[str]]()
        for place, frame, of_row in zip(places, frames, standing, strict=True):
            reason = _reason(place, folders.kept)
            results = requirements.of_row(place, reason)
            if results.unread:
                unread.setdefault(results.unread, []).append(place.shard.relative)
            ranked = None
            if cut is not None and (is_kept(reason) or reason == _ranked_reason(folders)):
                ranked = RankedScore(folders.by, str(folders.arguments.get("rule", "")), cut)
            row = frame.row(0, named=True)
            fates.append(
                RowFate(
                    id=place.id,
                    source=str(row["source"]),
                    tokens=int(row["tokens"]),
                    file=place.shard.relative,
                    row=place.row,
                    reason=reason,
                    scores=of_row,
                    requirements=results.requirements,
                    ranked=ranked,
                    copies=copies.get(place.id, ()),
                    rows_with_id=place.rows_with_id,
                    cap=FilledCap(reason.removeprefix(CAP), folders.by) if reason.startswith(CAP) else None,
                )
            )
    notes = (
        f"{first_few(dict.fromkeys(paths))} could not be read ({problem}), so that the stored reason tells which "
        "requirements on columns of the inputs are met"
        for problem, paths in unread.items()
    )
    return Fates(tuple(fates), tuple(notes))


def _folders(folder: Path, scores: Path | None) -> Folders:
    """Return the folders behind the one that a user named."""
    for candidate in (folder, folder / INSIDE[0]):
        if files.exists(path := scored.decisions_path(candidate)):
            arguments = job_record.from_json(artifacts.load(path, "job")).arguments
            place = scores or _score_folder(candidate, arguments)
            scored.check_decisions(place, candidate)
            return Folders(place, candidate, arguments)
    for candidate in (folder, folder / INSIDE[1]):
        if files.exists(scored.record_path(candidate)):
            return Folders(candidate, None, {})
    raise SchemaError(f"{folder} has neither decisions nor scores. Name the --out of `curate prune`, `run` or `score`")


def _score_folder(kept: Path, arguments: Mapping[str, object]) -> Path:
    recorded = arguments.get("scores")
    if recorded is None:
        raise SchemaError(f"{kept} was written by an older version, which did not record its scores. Give --scores DIR")
    place = Path(str(recorded))
    if not files.exists(scored.record_path(place)):
        raise SchemaError(f"{kept} was decided from {place}, which is not there any more. Give --scores DIR")
    return place


def _shards(folders: Folders) -> tuple[Shard, ...]:
    shards = scored.score_files(folders.scores, partial=True)
    if folders.kept is None:
        return shards
    # A pruning with --partial decided about some files only.
    decided = [shard for shard in shards if files.exists(folders.kept / (shard.relative + DECISIONS))]
    return tuple(decided)


def _columns(shard: Shard) -> tuple[str, ...]:
    """Return the columns of a score file that a person can read, without the identity columns."""
    names = [name for name in batches.columns(shard) if not name.startswith(VECTORS)]
    return tuple(name for name in names if name not in batches.IDENTITY)


def _standing(
    frames: Sequence[pl.DataFrame], shards: Sequence[Shard], engine: Engine
) -> list[tuple[StandingScore, ...]]:
    """Return the scores of each row, with their meaning and the share of all rows with a lower value."""
    declared = meanings.recorded(shards)
    # Files of one job have the same columns, but what a job carried may be of any type.
    numeric = [
        name
        for name in frames[0].columns
        if name not in batches.IDENTITY and all(name in f.columns and f[name].dtype.is_numeric() for f in frames)
    ]
    values = {name: [cast(float | None, frame[name][0]) for frame in frames] for name in numeric}
    below = score_ranks.shares_below(values, shards, engine) if numeric else {}
    result = []
    for i, frame in enumerate(frames):
        others = [name for name in frame.columns if name not in batches.IDENTITY]
        result.append(
            tuple(
                StandingScore(
                    name,
                    frame[name][0],
                    declaration.meaning if (declaration := declared.get(name)) is not None else None,
                    below[name][i] if name in below else None,
                )
                for name in others
            )
        )
    return result


def _reason(place: RowPlace, kept: Path | None) -> str:
    if kept is None:
        return ""
    decided = Shard(kept / (place.shard.relative + DECISIONS), place.shard.relative)
    frame = row_at(place, decided, ("reason",))
    if frame["id"][0] != place.id:
        raise SchemaError(
            f"{decided.path} was made from other scores than {place.shard.path}: run `curate prune` again"
        )
    return str(frame["reason"][0])


def _ranked_reason(folders: Folders) -> str:
    """Return the reason of the rows that the ranked decision dropped."""
    return str(folders.arguments.get("dropped_reason", ""))
