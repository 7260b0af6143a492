"""Processes of this machine: which one this is, its cores, which are alive or came from it, and how to end those."""

import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Collection
from functools import lru_cache
from math import ceil
from pathlib import Path

import xxhash

PROC = Path("/proc")  # Linux only; elsewhere the command `ps` is asked
CONTROL_GROUPS = Path("/sys/fs/cgroup")  # Linux only: the limits of containers and of batch systems
STATE, PARENT, BIRTH = 0, 1, 19  # places in /proc/PID/stat after the name of the program: see `man 5 proc`
KILL_SECONDS = 0.5  # a killed process ends at once, unless it waits for a disk that does not answer
LOOK_SECONDS = 0.02  # between two looks at processes that are about to end


@lru_cache(maxsize=1)
def host() -> str:
    """Return a short name for the space in which process ids are unique.

    That is this container, or this machine since it started.
    """
    # The host name alone is not enough: two containers of one name would remove each other's live files.
    parts = [platform.node()]
    if os.path.lexists("/proc/self/ns/pid"):  # on Linux; elsewhere only the name is known
        parts += [Path("/proc/sys/kernel/random/boot_id").read_text(), os.readlink("/proc/self/ns/pid")]
    return xxhash.xxh3_64_hexdigest("\0".join(parts).encode())[:8]


def usable_cores() -> int:
    """Return how many cores this process may use: those it is bound to, and no more than its control group's quota.

    A quota of 1.5 cores counts as 2.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores, *_quotas()))


def _quotas() -> list[int]:
    """Return the limits in whole cores of the control groups of this process, or a large number if there are none."""
    limits = [sys.maxsize]
    for folder in _control_groups("cpu"):
        # Version 2 has one file, "QUOTA PERIOD" or "max PERIOD"; version 1 has two, and -1 for no quota.
        words = _words(folder / "cpu.max") or (
            _words(folder / "cpu.cfs_quota_us") + _words(folder / "cpu.cfs_period_us")
        )
        match words:
            case [quota, period] if quota.isdigit() and period.isdigit() and int(period) > 0:
                limits.append(ceil(int(quota) / int(period)))
    return limits


def usable_memory() -> int | None:
    """Return how many bytes this process may use: those of the machine, and no more than its control group's limit.

    None where the system does not say it.
    """
    names = getattr(os, "sysconf_names", {})
    if not {"SC_PHYS_PAGES", "SC_PAGE_SIZE"} <= set(names):
        return None
    limits = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for folder in _control_groups("memory"):
        # Version 2 has a number or "max"; version 1 has a huge number for no limit.
        words = _words(folder / "memory.max") or _words(folder / "memory.limit_in_bytes")
        limits += [int(word) for word in words if word.isdigit()]
    return min(limits)


def _control_groups(controller: str) -> list[Path]:
    """Return the folders of the control groups by which a ``controller`` limits this process: its own and those above.

    ``controller`` is ``cpu`` or ``memory``.
    """
    folders = []
    for line in _lines(PROC / "self" / "cgroup"):
        # A line is NUMBER:CONTROLLERS:PATH. Version 2 names no controllers.
        _, controllers, path = line.split(":", 2)
        if controllers == "" or controller in controllers.split(","):
            root = CONTROL_GROUPS / controllers
            own = root / path.strip("/")
            # Inside a container the path may be that of the host, and only the root exists.
            folders += [folder for folder in (own, *own.parents) if folder.is_relative_to(root)]
    return folders


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []


def _words(path: Path) -> list[str]:
    return " ".join(_lines(path)).split()


def is_alive(pid: int) -> bool:
    """Return whether a process exists and has not ended."""
    try:
        os.kill(pid, 0)  # signal 0 sends nothing: it only checks that the process exists
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    # A process that ended stays in the table, in the state Z, until its parent asks how it ended.
    return _stat(pid)[STATE : STATE + 1] not in (["Z"], ["X"])


def birth(pid: int) -> str:
    """Return a text that tells a process from an earlier one with the same id; empty where nothing tells."""
    fields = _stat(pid)
    return fields[BIRTH] if len(fields) > BIRTH else ""


def _stat(pid: int) -> list[str]:
    try:
        # The name of the program is in brackets, and may hold spaces and brackets itself.
        return (PROC / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return []


def descendants(*pids: int) -> list[int]:
    """Return the ids of all processes that these processes started, and that those started."""
    children: dict[int, list[int]] = {}
    for child, parent in _parents():
        children.setdefault(parent, []).append(child)
    family = list(pids)
    for process in family:  # the list grows while it is read
        family += children.get(process, [])
    return family[len(pids) :]


def _parents() -> list[tuple[int, int]]:
    if (PROC / "self" / "stat").exists():
        pids = [int(name) for name in os.listdir(PROC) if name.isdigit()]
        pairs = [(pid, fields[PARENT]) for pid in pids if len(fields := _stat(pid)) > PARENT]
    else:
        table = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=False).stdout
        pairs = [(int(pid), parent) for pid, parent in (line.split() for line in table.splitlines())]
    return [(pid, int(parent)) for pid, parent in pairs]


def end(pids: Collection[int], *, seconds: float) -> set[int]:
    """End processes, and all that they started; return the ids of all of them.

    A process in a process group of its own, such as the program of a trainer, is first asked to end (SIGTERM) and has
    ``seconds`` for it. The others are workers of ours, which can be killed at any moment.
    """
    family: set[int] = set()
    # Workers are stopped before they are killed. Otherwise one could start another program just before it ends, which
    # nobody would find as its descendant afterwards.
    while new := {*pids, *descendants(*pids)} - family:
        family |= new
        for pid in new:
            if _is_worker(pid):
                _send(pid, signal.SIGSTOP)
    apart = {group for pid in family if not _is_worker(pid) and (group := _group(pid)) is not None}
    for pid in filter(_is_worker, family):
        _send(pid, signal.SIGKILL)
    for group in apart:
        _send(group, signal.SIGTERM, group=True)
    limit = time.monotonic() + seconds
    while remaining := [pid for pid in family if is_alive(pid)]:
        if time.monotonic() >= limit + KILL_SECONDS:
            break
        if time.monotonic() >= limit:
            for pid in remaining:
                _send(pid, signal.SIGKILL)
        time.sleep(LOOK_SECONDS)
        family.update(descendants(*family))
    return family


def _is_worker(pid: int) -> bool:
    """Return whether a process belongs to the process group of this one."""
    return _group(pid) == os.getpgrp()


def _group(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except OSError:
        return None


def _send(pid: int, number: signal.Signals, *, group: bool = False) -> None:
    try:
        (os.killpg if group else os.kill)(pid, number)
    except (ProcessLookupError, PermissionError):
        return  # it has ended already, or became another user's
