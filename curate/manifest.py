"""What is done: one small JSON file per (step, shard), so that a job continues where it stopped or says why it cannot.

Plain files, no lock database: works on network file systems. An entry is written after its output was renamed into
place, so an entry without an output, or the reverse, is simply not done.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from curate import __version__
from curate.errors import Interrupted
from curate.files import content_hash, write_text

FOLDER = "_curate"  # inside the output folder; input discovery skips names that start with "_"


@dataclass(frozen=True)
class Entry:
    """One finished shard of one step; ``input`` and ``config`` are content hashes, ``size``, ``mtime`` a fast path."""

    step: str
    shard: str
    input: str
    size: int
    mtime: int
    config: str
    version: str
    rows: int


def entry_path(out: Path, step: str, shard: str) -> Path:
    """Return where the entry of a shard lives."""
    return out / FOLDER / step / f"{shard}.json"


def read(out: Path, step: str, shard: str) -> Entry | None:
    """Return the entry of a shard, or None when it is not done."""
    path = entry_path(out, step, shard)
    if not path.is_file():
        return None
    try:
        return Entry(**json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise Interrupted(f"{path} is damaged ({error}): delete it to redo its shard") from None


def record(out: Path, step: str, shard: str, source: Path, *, config: str, rows: int) -> None:
    """Write that ``shard`` is done; call it after the output is in place."""
    stat = source.stat()
    entry = Entry(step, shard, content_hash(source), stat.st_size, stat.st_mtime_ns, config, __version__, rows)
    write_text(entry_path(out, step, shard), json.dumps(asdict(entry), indent=1, sort_keys=True) + "\n")


def changes(entry: Entry, source: Path, config: str) -> list[str]:
    """Say what differs between a finished shard and the job as asked now; empty when nothing does."""
    found = []
    stat = source.stat()
    moved = (stat.st_size, stat.st_mtime_ns) != (entry.size, entry.mtime)
    if moved and content_hash(source) != entry.input:
        found.append(f"input {source} changed ({entry.size} -> {stat.st_size} bytes)")
    if entry.config != config:
        found.append(f"configuration changed ({entry.config[:8]} -> {config[:8]})")
    if entry.version != __version__:
        found.append(f"version changed ({entry.version} -> {__version__})")
    return found


def pending(
    out: Path, step: str, work: Sequence[tuple[str, Path, Path]], config: str, *, restart: bool
) -> list[tuple[str, Path, Path]]:
    """Return the (shard, input, output) triples still to do; refuse to mix results of two different jobs.

    ``restart`` forgets what is done, and everything is to do again.
    """
    todo = []
    for shard, source, output in work:
        if restart:
            entry_path(out, step, shard).unlink(missing_ok=True)
        entry = read(out, step, shard)
        if entry is None or not output.is_file():
            todo.append((shard, source, output))
        elif found := changes(entry, source, config):
            raise Interrupted(
                f"{out} holds results of another {step} job: {shard}: {'; '.join(found)}. "
                "Give --restart to start over, or another --out"
            )
    return todo
