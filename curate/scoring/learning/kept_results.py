"""Check that the results that scorers left for later jobs are still there, before they learn from added files.

A scorer that learns from added files must not change the scores of older files. For this it reads the centres, the
links or the decisions of earlier jobs. If one of them were missing, the scorer would decide about old rows again, and
the old score files would not agree with the new ones. So each learned state lists the files and the parts that later
jobs rely on. In: this list, and the folder of the job. Out: nothing, or an error that names what is missing.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from curate.errors import Interrupted, amount
from curate.scoring.learning import places
from curate.scoring.learning.corpus_parts import ScoringPart
from curate.scoring.learning.seals import REMEDY
from curate.storage import files, manifest, origin, s3
from curate.storage.files import text_hash
from curate.tables.corpus.corpus import EXCHANGES


@dataclass(frozen=True)
class KeptResults:
    """What later jobs rely on, after a scorer has learned.

    ``parts`` has the generation of each part that it learned from. ``sizes`` has the bytes of each file of results, by
    its path in ``OUT/_curate``. The size is None if a later job may write the file again.
    """

    parts: Mapping[str, int] = field(default_factory=dict)
    sizes: Mapping[str, int | None] = field(default_factory=dict)

    def to_json(self) -> dict[str, object]:
        """Return the fields of a learned state's record."""
        return {"parts": dict(self.parts), "results": dict(self.sizes)}


def from_json(record: Mapping[str, object]) -> KeptResults:
    """Return what `KeptResults.to_json` wrote. Records of earlier versions list nothing, so nothing is checked."""
    return KeptResults(
        cast(Mapping[str, int], record.get("parts", {})), cast(Mapping[str, int | None], record.get("results", {}))
    )


def of_state(out: Path, work: Path, name: str, parts: Collection[ScoringPart]) -> KeptResults:
    """Return what later jobs rely on, now that a scorer has learned from all parts."""
    generations = {part.name: part.generation for part in parts}
    if not places.keeps_results(name):
        return KeptResults(generations)
    paths = files.below(work, "")
    sizes = files.each(lambda path: files.size(path) if path.stem in generations else None, paths, out)
    root = out / manifest.FOLDER
    return KeptResults(
        generations, {path.relative_to(root).as_posix(): size for path, size in zip(paths, sizes, strict=True)}
    )


def remove_other_parts(work: Path, parts: Collection[ScoringPart]) -> None:
    """Remove what a scorer computed of parts that the data no longer have, such as those of files set aside."""
    names = {part.name for part in parts}
    for path in files.below(work, ".npz"):
        inner = path.relative_to(work).parts
        # Files of parts lie in folders by what they hold, and have the name of their part, which is a hash.
        is_of_part = len(inner) == 2 and inner[0] != EXCHANGES and len(path.stem) == len(text_hash(""))
        if is_of_part and path.stem not in names:
            files.remove(path)


def check_parts(out: Path, scorer: str, before: KeptResults, parts: Collection[ScoringPart]) -> None:
    """Check that the data are cut into the same parts as before, apart from new parts.

    Raises:
        Interrupted: if a part that the scorer learned from is gone, or has another generation.
    """
    generations = {part.name: part.generation for part in parts}
    lost = [name for name, generation in before.parts.items() if generations.get(name) != generation]
    if lost:
        path = places.corpus_record(out)
        state = "was changed" if files.exists(path) else "is missing"
        raise Interrupted(
            f"{s3.shown(path)} {state}: it does not list {len(lost)} of the {amount(len(before.parts), 'part')} that "
            f"scorer {scorer} learned from, so the scorer would decide about old rows again. {REMEDY}"
        )


def check_files(out: Path, scorer: str, before: KeptResults) -> None:
    """Check that every file of results is there, and has the size that it had.

    The content of a file is checked when it is read: each has a checksum.

    Raises:
        Interrupted: for the first file that is missing or has another size.
    """
    root = out / manifest.FOLDER
    problems = files.each(lambda item: _problem(root / item[0], item[1]), list(before.sizes.items()), out)
    wrong = [(name, problem) for name, problem in zip(before.sizes, problems, strict=True) if problem]
    if wrong:
        name, problem = wrong[0]
        count = amount(len(wrong) - 1, "other file")
        others = f" ({count} of this scorer also missing or changed)" if len(wrong) > 1 else ""
        raise Interrupted(
            f"{s3.shown(root / name)} {problem}{others}. Scorer {scorer} needs it to leave the scores of older files "
            f"as they are. {REMEDY}"
        )


def check_origin(work: Path, scorer: str, key: str) -> None:
    """Check that the folder ``work`` records this job as the one that its results come from.

    ``key`` is the hash of what decides the results. With another hash, the results would be removed before learning.

    Raises:
        Interrupted: if the record is missing, or has another hash.
    """
    path = work / origin.NAME
    if not origin.is_from(path, key):
        state = "holds the hash of another job" if files.exists(path) else "is missing"
        raise Interrupted(
            f"{s3.shown(path)} {state}, so it is not certain that the older results of scorer {scorer} in this folder "
            f"come from this job. {REMEDY}"
        )


def gone(path: Path, scorer: str) -> Interrupted:
    """Return the error for a learned state that is missing while shards are scored with it."""
    return Interrupted(
        f"{s3.shown(path)} is missing. It holds what scorer {scorer} learned, and some files are scored with it. "
        f"{REMEDY}"
    )


def _problem(path: Path, size: int | None) -> str:
    """Return what is wrong with a file of ``size`` bytes (None: of any size), or an empty text."""
    if not files.exists(path):
        return "is missing"
    if size is not None and (present := files.size(path)) != size:
        return f"has {present} bytes instead of {size}"
    return ""
