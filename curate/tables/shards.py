"""Find the input files of a job, and name its outputs after them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from curate.errors import SchemaError
from curate.storage import files

PACKINGS = ("", ".gz", ".zst")  # of files of text
JSON_ENDINGS = tuple(ending + packing for ending in (".jsonl", ".ndjson", ".json") for packing in PACKINGS)
CSV_ENDINGS = tuple(ending + packing for ending in (".csv", ".tsv") for packing in PACKINGS)
FORMATS = (".parquet", *JSON_ENDINGS, *CSV_ENDINGS, ".arrow", ".feather")


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


def ending(name: str) -> str:
    """Return the ending of a file's name that tells its format, in small letters; empty if no job reads it."""
    # The longest one: `.jsonl.gz` is not `.gz`, and capitals do not matter.
    fitting = (suffix for suffix in FORMATS if name.lower().endswith(suffix))
    return max(fitting, key=len, default="")


def has_lines(shard: Shard) -> bool:
    """Return whether a file is text, in which a single line can be damaged: JSON, CSV or TSV."""
    return ending(shard.path.name) in (*JSON_ENDINGS, *CSV_ENDINGS)


def shards(data: Sequence[str]) -> tuple[Shard, ...]:
    """Return the input files that files, folders and globs name, sorted by relative path.

    Raises:
        SchemaError: if an item names no input file, or two files would have outputs of the same name.
    """
    by_name: dict[str, Shard] = {}
    for item in data:
        if "://" in item and not item.startswith("s3://"):
            raise SchemaError(f"{item}: of remote stores only s3:// is read. GCS, R2 and MinIO offer it too")
        matches = [Shard(path, name) for path, name in files.listed(item) if ending(name)]
        if not matches:
            raise SchemaError(f"no input files at {item}: it must be or hold {', '.join(FORMATS)}")
        for shard in matches:
            if (other := by_name.setdefault(shard.relative, shard)).path != shard.path:
                raise SchemaError(
                    f"{other.path} and {shard.path} would both write {shard.relative}. "
                    "Name their common parent folder, or score them into different --out folders"
                )
    return tuple(by_name[name] for name in sorted(by_name))
