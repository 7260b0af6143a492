"""Find the input files of a job, and name its outputs after them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from curate.errors import SchemaError
from curate.storage import completion, files

FORMATS = (".parquet", ".jsonl", ".jsonl.gz", ".jsonl.zst", ".arrow", ".feather")


@dataclass(frozen=True)
class Shard:
    """One input file: its path, and its path relative to the folder that the user named.

    Outputs have the same relative path.
    """

    path: Path
    relative: str

    @property
    def source(self) -> str:
        """The source of rows that name none: the folder ``source=...``, else the parent folder's name."""
        hive = [p.removeprefix("source=") for p in self.path.parent.parts if p.startswith("source=")]
        return hive[-1] if hive else self.path.resolve().parent.name


def shards(data: Sequence[str]) -> tuple[Shard, ...]:
    """Return the input files that files, folders and globs name, sorted by relative path.

    Raises:
        SchemaError: if an item names no input file, or two files would have outputs of the same name.
    """
    by_name: dict[str, Shard] = {}
    for item in data:
        if "://" in item and not item.startswith("s3://"):
            raise SchemaError(f"{item}: of remote stores only s3:// is read. GCS, R2 and MinIO offer it too")
        completion.check_input(item)
        matches = [Shard(path, name) for path, name in files.listed(item) if name.endswith(FORMATS)]
        if not matches:
            raise SchemaError(f"no input files at {item}: it must be or hold {', '.join(FORMATS)}")
        for shard in matches:
            if (other := by_name.setdefault(shard.relative, shard)).path != shard.path:
                raise SchemaError(
                    f"{other.path} and {shard.path} would both write {shard.relative}. "
                    "Name their common parent folder, or score them into different --out folders"
                )
    return tuple(by_name[name] for name in sorted(by_name))
