"""List the files below a folder on disk, and say what was passed over.

Links are followed, but no file is listed twice and no circle of links is walked.
"""

import errno
import os
import re
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import translate
from pathlib import Path

from curate.errors import SchemaError

MAGIC = re.compile(r"[*?\[]")  # the characters that make a part of a path a wildcard
Enters = Callable[[Sequence[str]], bool]  # whether a folder, given as its parts below the root, may hold what is wanted


@dataclass
class Listing:
    """The files that an address names, each with its path relative to the address, and what was passed over.

    All other fields hold relative paths. ``hidden`` are files and folders whose names start with "_". ``dangling`` are
    links that lead nowhere. ``repeated`` are links to what is listed already, or to a folder above. ``special`` are
    sockets, pipes and devices. Names that start with "." are in none of them, as everywhere on Unix.
    """

    files: list[tuple[Path, str]] = field(default_factory=list)
    hidden: list[str] = field(default_factory=list)
    dangling: list[str] = field(default_factory=list)
    repeated: list[str] = field(default_factory=list)
    special: list[str] = field(default_factory=list)


def below(root: Path) -> Listing:
    """List every file below a folder.

    Raises:
        SchemaError: if a folder cannot be read.
    """
    return _Walk(root, lambda parts: True).listing()


def matching(root: Path, wildcards: Sequence[str]) -> Listing:
    """List the files below a folder that a glob names, given as its parts from the first wildcard on.

    Folders that no match can be in are not read.

    Raises:
        SchemaError: if a folder cannot be read, or the glob leads out of the root by "..".
    """
    if ".." in wildcards:
        raise SchemaError(
            f"{root.joinpath(*wildcards)} leads out of {root} by '..' after a wildcard. Name the folder itself"
        )
    wanted = pattern("/".join(wildcards))
    levels = [re.compile(translate(part)) for part in wildcards]
    deep = next((depth for depth, part in enumerate(wildcards) if "**" in part), len(wildcards))

    def enters(parts: Sequence[str]) -> bool:
        fits = all(level.match(part) for level, part in zip(levels[:deep], parts, strict=False))
        return fits and (deep < len(wildcards) or len(parts) < len(wildcards))

    listing = _Walk(root, enters).listing()
    listing.files = [(path, name) for path, name in listing.files if wanted.fullmatch(name)]
    for names in (listing.hidden, listing.dangling, listing.special):
        names[:] = [name for name in names if wanted.fullmatch(name)]
    # A linked folder is no match itself, but it may hold some.
    listing.repeated = [name for name in listing.repeated if wanted.fullmatch(name) or enters(name.split("/"))]
    return listing


def pattern(glob: str) -> re.Pattern[str]:
    """Return a glob as a pattern: ``**/`` matches any folders, ``*`` and ``?`` stay within a name."""
    wildcards = {"**/": "(?:.+/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    result = ""
    for position, token in enumerate(re.split(r"(\*\*/|\*\*|\*|\?|\[!?[^]]+\])", glob)):
        if position % 2 == 0:
            result += re.escape(token)
        else:
            result += wildcards.get(token) or translate(token)[len("(?s:") : -len(r")\Z")]
    return re.compile(result, re.DOTALL)


class _Walk:
    """A walk over the folders below a root. Real files and folders come before links, in the order of their names."""

    def __init__(self, root: Path, enters: Enters) -> None:
        self.root, self.enters = root, enters
        self.result = Listing()
        self.folders: set[tuple[int, int]] = set()  # device and inode of each folder that was read
        self.links: list[tuple[str, Path]] = []

    def listing(self) -> Listing:
        """Return what the walk lists, sorted."""
        self._read_all(self.root, "")
        waiting: deque[tuple[str, Path]] = deque()
        linked_files: list[tuple[str, Path]] = []
        while self.links or waiting:
            # A link that lies behind a link joins the queue after all others.
            waiting += sorted(self.links)
            self.links = []
            name, path = waiting.popleft()
            if (target := _target(path)) is None:
                self.result.dangling.append(name)
            elif not path.is_dir():
                linked_files.append((name, path))
            elif self.enters(name.split("/")):
                above = self.root.resolve().is_relative_to(path.resolve())
                if target in self.folders or above:
                    self.result.repeated.append(name)
                else:
                    self._read_all(path, name)
        self._add_linked(linked_files)
        self.result.files.sort(key=lambda file: file[1])
        for names in (self.result.hidden, self.result.dangling, self.result.repeated, self.result.special):
            names.sort()
        return self.result

    def _read_all(self, top: Path, top_name: str) -> None:
        """Read a folder and all real folders below it."""
        pending = [(top, top_name)]
        while pending:
            folder, prefix = pending.pop()
            identity = _target(folder)
            if identity is None:
                raise unreadable(folder, FileNotFoundError())
            if identity in self.folders:  # a linked folder may hold one that was read before
                self.result.repeated.append(prefix)
                continue
            self.folders.add(identity)
            for entry in _entries(folder):
                name = f"{prefix}/{entry.name}" if prefix else entry.name
                if self._is_wanted_folder(entry, folder / entry.name, name):
                    pending.append((folder / entry.name, name))

    def _is_wanted_folder(self, entry: "os.DirEntry[str]", path: Path, name: str) -> bool:
        """Note an entry of a folder; return whether it is a folder to read."""
        if entry.name.startswith("."):
            return False
        if entry.name.startswith("_"):
            self.result.hidden.append(name)
        elif entry.is_symlink():
            self.links.append((name, path))
        elif entry.is_dir():
            return self.enters(name.split("/"))
        elif entry.is_file():
            self.result.files.append((path, name))
        else:
            self.result.special.append(name)
        return False

    def _add_linked(self, links: Sequence[tuple[str, Path]]) -> None:
        """Add the files that links lead to, each once."""
        if not links:
            return
        read = {_target(path) for path, _ in self.result.files}
        for name, path in sorted(links):
            identity = _target(path)
            if not path.is_file():
                self.result.special.append(name)
            elif identity in read:
                self.result.repeated.append(name)
            else:
                read.add(identity)
                self.result.files.append((path, name))


def everything(folder: Path) -> list[Path]:
    """Return every file below a folder, hidden ones too, sorted; none if there is no such folder.

    Linked folders are not entered: this lists what curate itself wrote.

    Raises:
        SchemaError: if a folder cannot be read.
    """

    def stop(error: OSError) -> None:
        # A folder may go while its parent is read: another job removes its temporary files.
        if not isinstance(error, FileNotFoundError):
            raise unreadable(Path(error.filename), error) from None

    paths = (Path(top, name) for top, _, names in os.walk(folder, onerror=stop) for name in names)
    return sorted(path for path in paths if path.is_file())


def _entries(folder: Path) -> "Iterator[os.DirEntry[str]]":
    try:
        with os.scandir(folder) as entries:
            yield from entries
    except OSError as error:
        raise unreadable(folder, error) from None


def _target(path: Path) -> tuple[int, int] | None:
    """Return the device and inode that a path leads to; None if it leads nowhere."""
    try:
        stat = path.stat()
    except OSError as error:
        # The last one is a circle of links that holds no file.
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            return None
        raise unreadable(path, error) from None
    return stat.st_dev, stat.st_ino


def unreadable(path: Path, error: OSError) -> SchemaError:
    """Return the error for a file or folder that cannot be listed."""
    if isinstance(error, FileNotFoundError):
        return SchemaError(f"{path} vanished while it was listed. Leave the files alone, and run the command again")
    return SchemaError(
        f"{path} cannot be read: {error.strerror or error}. Change its permissions, or name the other files and folders"
    )
