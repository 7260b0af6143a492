"""Input files: which there are, and the names their outputs take."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from curate.errors import SchemaError
from curate.storage import files

FORMATS = (".parquet", ".jsonl", ".jsonl.gz", ".jsonl.zst", ".arrow", ".feather")


@dataclass(frozen=True)
class Shard:
    """One input file: where it is, and its path relative to the folder the user named (outputs mirror it)."""

    path: Path
    relative: str

    @property
    def source(self) -> str:
        """Where its rows come from, if they do not say: the ``source=`` folder, else the parent folder's name."""
        hive = [p.removeprefix("source=") for p in self.path.parent.parts if p.startswith("source=")]
        return hive[-1] if hive else self.path.resolve().parent.name


def shards(data: Sequence[str]) -> tuple[Shard, ...]:
    """Find the input files under files, folders and globs, sorted by relative path."""
    found: dict[str, Shard] = {}
    for item in data:
        if "://" in item and not item.startswith("s3://"):
            raise SchemaError(f"{item}: of remote storage only s3:// is read, which GCS, R2 and MinIO speak too")
        mine = [Shard(path, name) for path, name in files.listed(item) if name.endswith(FORMATS)]
        if not mine:
            raise SchemaError(f"no input files at {item}: it must be or hold {', '.join(FORMATS)}")
        for shard in mine:
            if (other := found.setdefault(shard.relative, shard)).path != shard.path:
                raise SchemaError(
                    f"{other.path} and {shard.path} would both write {shard.relative}: "
                    "name their common parent folder, or run them into different --out folders"
                )
    return tuple(found[key] for key in sorted(found))
