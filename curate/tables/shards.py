"""Find the input files of a job, and say which files are not read.

In: files, folders and globs. Out: shards, after which outputs are named, and warnings.
"""

import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from curate.errors import SchemaError, amount, first_few
from curate.shown import is_text, printable
from curate.storage import completion, files, manifest, s3
from curate.storage.files import Listing
from curate.tables import saved_datasets
from curate.tables.formats import json_objects

PACKINGS = ("", ".gz", ".zst")  # of files of text
JSON_ENDINGS = tuple(ending + packing for ending in (".jsonl", ".ndjson", ".json") for packing in PACKINGS)
CSV_ENDINGS = tuple(ending + packing for ending in (".csv", ".tsv") for packing in PACKINGS)
FORMATS = (".parquet", *JSON_ENDINGS, *CSV_ENDINGS, ".arrow", ".arrows", ".feather")
ENDINGS = ".parquet, .jsonl, .ndjson, .json, .csv, .tsv (these five also with .gz or .zst), .arrow, .arrows, .feather"
# No ending is the end of another one, so at most one of them matches a name.
_ENDING = re.compile(rf"(?:{'|'.join(map(re.escape, FORMATS))})\Z", re.IGNORECASE | re.ASCII)
# Outputs add endings such as `.scores.parquet`, and file systems allow 255 bytes in a name.
LONGEST_NAME = 230
# Names that lie beside data by convention. Nobody takes them for data, so nothing is said about them.
COMPANIONS = re.compile(
    r"(readme|licen[cs]e|copying|notice|citation|changelog|(md5|sha\d*)sums?)(\..*)?|.*\.(md|rst|crc|md5|sha\d+|log|lock)",
    re.IGNORECASE,
)
# Names starting with "_" that curate, Spark, Hadoop and Delta Lake use for their own records.
RECORDS = re.compile(
    r"_(curate|temporary|success|metadata|common_metadata|delta_log|spark_metadata|(started|committed)_.*)",
    re.IGNORECASE,
)


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
        return self.hive_source or Path(os.path.abspath(self.path)).parent.name

    @property
    def hive_source(self) -> str:
        """The source that a folder ``source=...`` names; empty if there is none."""
        hive = [p.removeprefix("source=") for p in self.path.parent.parts if p.startswith("source=")]
        return hive[-1] if hive else ""


@dataclass
class Inputs:
    """The input files that a user named, sorted by relative path, and what to tell about the others.

    ``warnings`` are sentences on what is not read. ``unusable`` are files of data whose names cannot be used, each with
    the reason; `curate score` sets them aside.
    """

    shards: tuple[Shard, ...]
    warnings: tuple[str, ...] = ()
    unusable: dict[str, str] = field(default_factory=dict)


def ending(name: str) -> str:
    """Return the ending of a file's name that tells its format, in small letters; empty if no job reads it."""
    match = _ENDING.search(name)
    return match[0].lower() if match else ""


def has_lines(shard: Shard) -> bool:
    """Return whether a file is text, in which a single line can be damaged: JSON, CSV or TSV."""
    return ending(shard.path.name) in (*JSON_ENDINGS, *CSV_ENDINGS)


def shards(data: Sequence[str]) -> tuple[Shard, ...]:
    """Return the input files that files, folders and globs name, sorted by relative path.

    No output is named after them, so files of two folders may have one name. Their relative path is then the path by
    which they were named, so that their rows have different ids. A job that tells the user what is not read, or names
    outputs after its inputs, calls `inputs`.

    Raises:
        SchemaError: see `inputs`; also if the name of a file cannot be used.
    """
    by_place: dict[str, Shard] = {}
    for item in data:
        listed = inputs([item])
        if listed.unusable:
            raise SchemaError(next(iter(listed.unusable.values())))
        for shard in listed.shards:
            # A listing names a file once, so only several items can overlap.
            by_place.setdefault(_place(shard) if len(data) > 1 else shard.relative, shard)
    times = Counter(shard.relative for shard in by_place.values())
    distinct = [s if times[s.relative] == 1 else Shard(s.path, str(s.path)) for s in by_place.values()]
    return tuple(sorted(distinct, key=lambda shard: shard.relative))


def inputs(data: Sequence[str]) -> Inputs:
    """Return the input files that files, folders and globs name, and what to tell the user about the others.

    Raises:
        SchemaError: if an item names no input file, a folder cannot be read, or two files would have outputs of the
            same name.
    """
    by_name: dict[str, Shard] = {}
    by_place: dict[str, str] = {}  # the place of each file in the file system -> its relative name
    warnings: list[str] = []
    unusable: dict[str, str] = {}
    repeated: list[tuple[Path, str]] = []
    for item in data:
        listing = _listed(item)
        completion.check_input(item)
        objects = _objects(item, listing)
        matches = [Shard(path, name) for path, name in listing.files if ending(name) and path not in objects]
        if not matches:
            raise SchemaError(_nothing(item, listing))
        warnings += _left_out(item, listing, [name for path, name in listing.files if path in objects])
        for shard in matches:
            if reason := _unusable(shard):
                unusable[printable(shard.relative)] = reason
                continue
            if (other := by_name.get(shard.relative)) is not None and other.path != shard.path:
                raise SchemaError(
                    f"{other.path} and {shard.path} would both write {shard.relative}. "
                    "Name their common parent folder, or score them into different --out folders"
                )
            # A listing names a file once, so only several items can overlap.
            if len(data) > 1 and (first := by_place.setdefault(_place(shard), shard.relative)) != shard.relative:
                repeated.append((shard.path, first))
                continue
            by_name[shard.relative] = shard
    if unusable and not by_name:
        raise SchemaError(next(iter(unusable.values())))
    if repeated:
        (path, name), *others = repeated
        more = f". The same holds for {amount(len(others), 'more file')}" if others else ""
        warnings.append(f"{path} is named twice. It is read once, as {name}{more}")
    return Inputs(tuple(by_name[name] for name in sorted(by_name)), tuple(warnings), unusable)


def same_source(shards: Iterable[Shard]) -> tuple[str, ...]:
    """Return a warning if folders of one name in two places give their rows the same source.

    ``shards`` are those whose rows name no source. A folder ``source=...`` says that its rows belong together.
    """
    folders: dict[str, dict[str, None]] = {}
    for shard in shards:
        if not shard.hive_source:
            folders.setdefault(shard.source, {})[str(shard.path.parent)] = None
    shared = {name: list(places) for name, places in folders.items() if len(places) > 1}
    if not shared:
        return ()
    name, places = next(iter(sorted(shared.items())))
    others = f". So do {amount(len(shared) - 1, 'more group')} of folders of one name" if len(shared) > 1 else ""
    return (
        f"the rows of the folders {first_few(sorted(places))} get the same source, {name!r}, and count as one "
        f"source{others}. To tell them apart, add a column source, or name the folders source=NAME",
    )


def _listed(item: str) -> Listing:
    if "://" in item and not item.startswith("s3://"):
        raise SchemaError(f"{item}: of remote stores only s3:// is read. GCS, R2 and MinIO offer it too")
    if not item or "\0" in item:
        what = "holds a null byte, which no name can" if item else "is empty"
        raise SchemaError(f"no input files at {item!r}: the name {what}. Name a file or folder, such as data/")
    if not is_text(item):
        raise SchemaError(f"{printable(item)}: the name is not UTF-8. Rename the file or folder")
    listing = files.listing(item)
    listing.files = saved_datasets.only_data(listing.files)
    return listing


def _objects(item: str, listing: Listing) -> set[Path]:
    """Return the files of a folder or glob that have an ending of JSON, and are one object and no rows."""
    # A file that the user names is data, whatever it holds.
    if [path for path, _ in listing.files] == [Path(item)]:
        return set()
    kinds = {path: ending(name) for path, name in listing.files}
    beside_others = any(kind and not _may_be_one_object(kind) for kind in kinds.values())
    return json_objects.without_rows(
        [path for path, kind in kinds.items() if _may_be_one_object(kind)], beside_others=beside_others
    )


def _may_be_one_object(kind: str) -> bool:
    """Return whether files of this ending may be one object: `.json`, which other programs use for metadata."""
    return kind in JSON_ENDINGS and kind.startswith(".json") and not kind.startswith(".jsonl")


def _unusable(shard: Shard) -> str:
    """Return why no output can be named after a file; empty if one can."""
    if not is_text(shard.relative):
        return f"{printable(str(shard.path))}: the name is not UTF-8. Rename the file or folder"
    length = len(os.fsencode(_base(shard.relative)))
    if length > LONGEST_NAME:
        return (
            f"{shard.path}: its name has {length} bytes, more than {LONGEST_NAME}. Outputs are named after their "
            "inputs, and file systems allow 255 bytes with all endings. Rename the file"
        )
    return ""


def _place(shard: Shard) -> str:
    """Return a text that is the same for two names of one file."""
    with suppress(OSError):  # whoever reads a file that vanished says so
        if not s3.remote(shard.path):
            stat = shard.path.stat()
            return f"{stat.st_dev}:{stat.st_ino}"
    return str(shard.path)


def _nothing(item: str, listing: Listing) -> str:
    """Return the message for an item without any input file."""
    where, path = f"no input files at {item}", Path(item)
    if listing.special:
        return f"{where}: it is not a regular file. Write the rows to a file, and name that"
    if listing.dangling and path.is_symlink():
        return f"{where}: it is a link to a file that does not exist. Repair the link"
    others = [name for _, name in listing.files]
    if others:
        return f"{where}: {_no_rows(path, others)}"
    if listing.hidden:
        return (
            f"{where}: names that start with _ are not read ({first_few(sorted(listing.hidden))}). Rename them, or "
            "name such a folder itself"
        )
    if listing.dangling:
        return f"{where}: its links lead to files that do not exist ({first_few(listing.dangling)}). Repair them"
    if s3.remote(path):
        return f"{where}: the prefix is empty or does not exist. Correct the address"
    if path.is_dir():
        return f"{where}: the folder is empty. Name a folder with files that end with {ENDINGS}"
    if files.glob_parts(item)[1]:
        return f"{where}: nothing matches. Correct the pattern; to look into folders too, end it with /**"
    return f"{where}: there is no such file or folder. Correct the path"


def _no_rows(path: Path, names: Sequence[str]) -> str:
    """Return why none of the files that an item names is read."""
    if objects := [name for name in names if ending(name)]:
        what = "is one JSON object" if len(objects) == 1 else "are one JSON object each"
        return (
            f"{first_few(sorted(objects))} {what} over several lines, as metadata are. Write each row as an object on "
            "one line, or all rows as an array"
        )
    if path.is_file():
        return f"its ending is none of {ENDINGS}. Convert or rename it"
    return (
        f"none of its {amount(len(names), 'file')} ({first_few(sorted(names))}) has an ending that is read: {ENDINGS}. "
        "Convert or rename them"
    )


def _left_out(item: str, listing: Listing, objects: Sequence[str]) -> list[str]:
    """Return a warning for each reason for which files of an item are not read. ``objects`` hold no rows."""
    unknown = [name for _, name in listing.files if not ending(name) and not COMPANIONS.fullmatch(_base(name))]
    # A hidden folder is named whatever it holds, since it is not looked into.
    hidden = [
        name for name in listing.hidden if not RECORDS.fullmatch(_base(name)) and not _is_output(Path(item), name)
    ]
    reasons = (
        (
            objects,
            "file",
            "because a .json file that is one object is metadata",
            ". Write rows as objects on one line each",
        ),
        (unknown, "file", "because of the ending", ". Only files of Parquet, JSON, CSV, TSV and Arrow are read"),
        (hidden, "name", 'because of the "_" in front', ". Rename what holds data"),
        (listing.dangling, "link", "because the target does not exist", ". Repair or remove such links"),
        (listing.repeated, "link", "because the target is read already, or is a folder above", ""),
        (
            listing.special,
            "name",
            "because only regular files are read",
            ". Write the rows of pipes and devices to a file",
        ),
    )
    return [
        f"{amount(len(names), noun)} in {item} {'is' if len(names) == 1 else 'are'} not read, {reason}: "
        f"{first_few(sorted(names))}{remedy}"
        for names, noun, reason, remedy in reasons
        if names
    ]


def _is_output(folder: Path, name: str) -> bool:
    """Return whether a folder below ``folder`` is the output folder of a job of ours."""
    return not s3.remote(folder) and (folder / name / manifest.FOLDER).is_dir()


def _base(name: str) -> str:
    return name.rpartition("/")[2]
