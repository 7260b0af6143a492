"""Name the folders in which a scorer keeps what it learned and what it computed of parts.

In: the folder of a job, and a scorer. Out: paths.
"""

from collections.abc import Mapping
from pathlib import Path

from curate import open_sets
from curate.scoring import renamed
from curate.storage import files, manifest
from curate.storage.files import text_hash


def learned_folder(out: Path) -> Path:
    """Return the folder of learned states."""
    return out / manifest.FOLDER / "learned"


def corpus_record(out: Path) -> Path:
    """Return the file that records into which parts the data are cut."""
    return out / manifest.FOLDER / "corpus.json"


def work_folder(out: Path, spec: str, formats: Mapping[str, int]) -> Path:
    """Return the folder where a scorer keeps what it computes of parts while it learns.

    It is a cache that may be removed. Scorers whose file says ``KEEPS_RESULTS`` have a folder of results instead, which
    later jobs read.
    """
    name = open_sets.parse(spec)[0]
    if keeps_results(name):
        return results_folder(out, spec)
    key = text_hash(repr((spec, sorted(formats.items()))))[:16]
    return _caches(out) / f"{scorer_words(name).replace(' ', '_')}-{key}"


def results_folder(out: Path, spec: str) -> Path:
    """Return the folder of the results that a scorer keeps for later jobs: ``duplicates``, or ``duplicates-NAME``."""
    # The file of the user's own scorer may be gone, so its options are not looked up.
    scorer, options = open_sets.parse(spec)
    name = f"-{options[renamed.OPTION]}" if renamed.OPTION in options else ""
    return out / manifest.FOLDER / f"{file_name(scorer)}{name}"


def remove_other_caches(out: Path, used: set[Path]) -> None:
    """Remove the caches of learning except the folders ``used``: scorers or options that the job has no more."""
    root = _caches(out)
    names = {path.relative_to(root).parts[0] for path in files.below(root, "")}
    for folder in sorted(root / name for name in names):
        if folder not in used:
            files.remove(folder)


def keeps_results(name: str) -> bool:
    """Return whether what a scorer computes of parts is a result that later jobs read, and not a cache."""
    return bool(getattr(open_sets.module("scorers", name), "KEEPS_RESULTS", False))


def learns_added_files(name: str) -> bool:
    """Return whether a scorer learns from files that are added, and leaves the scores of older files as they are."""
    return bool(getattr(open_sets.module("scorers", name), "LEARNS_ADDED_FILES", False))


def file_name(name: str) -> str:
    """Return a scorer's name as part of a file name. The user's own scorer is named by a path."""
    return f"own_{text_hash(name)[:16]}" if open_sets.is_own(name) else name


def scorer_words(name: str) -> str:
    """Return a scorer's name as words for progress: ``class prototypes``. The user's own scorers have no such name."""
    return name.replace("_", " ") if name.replace("_", "").isalpha() else "from the data"


def _caches(out: Path) -> Path:
    return out / manifest.FOLDER / manifest.PARTS / "learning"
