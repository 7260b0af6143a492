"""Warn of inputs that were written again, where a requirement reads a column that was not hashed.

In: requirements, and a folder of scores. Out: warnings. The job `score` hashes the columns that its scorers read. If a
file was written again with the same values in these, `prune` goes on, and cannot tell whether another column changed.
"""

from pathlib import Path

from curate.errors import amount, first_few
from curate.pruning.requirements.columns import RequiredRows
from curate.pruning.requirements.reading import Requirements
from curate.storage import files, manifest
from curate.tables.scored_inputs.scored_rows import SCORE_STEP


def warnings(requirements: Requirements, scores: Path) -> tuple[str, ...]:
    """Return a warning if files were written again whose columns a requirement reads, and no scorer did."""
    names = dict.fromkeys(name for requirement in requirements.each for name in requirement.inputs)
    unhashed: dict[str, None] = {}
    rewritten: list[RequiredRows] = []
    for part in requirements.rows if names else ():
        assert part.data is not None
        path = manifest.entry_path(scores, SCORE_STEP, part.data.relative)
        entry = manifest.read_entry(path) if files.exists(path) else None
        if entry is None or manifest.is_stamped(entry, part.data.path, path=path):
            continue
        if others := [name for name in names if part.reading.column(name) not in entry.columns]:
            unhashed |= dict.fromkeys(others)
            rewritten.append(part)
    if not rewritten:
        return ()
    assert rewritten[0].data is not None
    more = f" and {amount(len(rewritten) - 1, 'more file')} were" if len(rewritten) > 1 else " was"
    return (
        f"{rewritten[0].data.path}{more} written again after scoring. The columns that scorers read are unchanged. "
        f"These columns of --require may have changed: {first_few(list(unhashed))}",
    )
