"""Load scorers that have learned from their files, once in each process."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from pathlib import Path
from typing import cast

from curate import open_sets
from curate.errors import Interrupted
from curate.scorers import Scorer
from curate.scoring import renamed
from curate.storage import files
from curate.tables.corpus import array_files
from curate.tables.corpus.corpus import stored_path

# Learned scorers that a process keeps in memory. A job has a few, and a table of n-grams takes up to a gigabyte.
MOST_LOADED = 8
REMEDY = "give --restart to learn and score again"


@dataclass(frozen=True)
class LearnedScorer:
    """A scorer that has learned: its name with options, and the file of its arrays.

    It is small, so that it can be sent to a worker with every task. ``stamp`` is that of the file. ``of_all_files``
    says that it learned from all files of the job, so that it has learned something about the rows of every part.
    """

    spec: str
    path: Path
    stamp: str
    of_all_files: bool = False

    @property
    def by_part(self) -> Path:
        """The folder of what was learned about the rows of each part (`Corpus.store`)."""
        return self.path.with_suffix("")

    def scorer(self, part: str = "") -> Scorer:
        """Return the scorer, with what it learned about the rows of a part if it learned by part.

        Raises:
            Interrupted: if a file is damaged or gone.
        """
        return renamed.with_name(self.spec, _loaded_for(self, part))


AnyScorer = Scorer | LearnedScorer


def ready(scorers: Sequence[AnyScorer], part: str = "") -> tuple[Scorer, ...]:
    """Return scorers that can score the rows of a part."""
    return tuple(item.scorer(part) if isinstance(item, LearnedScorer) else item for item in scorers)


@lru_cache(maxsize=MOST_LOADED)
def _loaded_for(learned: LearnedScorer, part: str) -> Scorer:
    whole = _loaded(learned.spec, learned.path, learned.stamp)
    path = stored_path(learned.by_part, part)
    if not part or not getattr(whole, "part_arrays", ()):
        return whole
    if not files.exists(path):
        if learned.of_all_files:
            raise Interrupted(f"{path} is gone: run the same command again, which learns what it held")
        return whole
    return replace(whole, **array_files.read_arrays(path))  # type: ignore[type-var]


@lru_cache(maxsize=MOST_LOADED)
def _loaded(spec: str, path: Path, _stamp: str) -> Scorer:
    name, options = open_sets.parse(spec)
    scorer = open_sets.implementation("scorers", name)
    # Only options that are fields of the scorer are passed on. The others only matter while it learns.
    plain = {field.name: options[field.name] for field in fields(scorer) if field.name in options}
    arrays = array_files.read_arrays(path, REMEDY)
    try:
        return cast(Scorer, scorer(**arrays, **plain))
    except TypeError as error:
        raise Interrupted(f"{path} is damaged ({' '.join(str(error).split())}): {REMEDY}") from None
