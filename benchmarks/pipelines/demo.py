"""Time and memory of the whole demo on this machine: python benchmarks/pipelines/demo.py

The demo is run as a user runs it. Peak memory is the largest sum
over the demo's processes, sampled from /proc twice a second (proportional set size, so that shared pages count once).
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

LIMITS = {"wall seconds": 480.0, "peak memory, MB": 2048.0}  # of issue 2, on two cores


def tree(root: int) -> list[int]:
    """Return a process and all its descendants."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
            except (OSError, IndexError):
                continue
            children.setdefault(parent, []).append(int(entry.name))
    folders, queue = [], [root]
    while queue:
        folders.append(queue.pop())
        queue += children.get(folders[-1], [])
    return folders


def memory(pids: list[int]) -> float:
    """Return the proportional set size of processes, MB."""
    total = 0
    for pid in pids:
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total / 1024


def main() -> None:
    folder = tempfile.mkdtemp()
    command = [str(Path(sys.executable).parent / "curate"), "demo", "--out", "demo-out"]
    start, before, peak = time.monotonic(), os.times(), 0.0
    with open(Path(folder) / "log", "w+") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=subprocess.STDOUT)
        while process.poll() is None:
            peak = max(peak, memory(tree(process.pid)))
            time.sleep(0.5)
        log.seek(0)
        text = log.read()
    after = os.times()
    figures = {
        "wall seconds": time.monotonic() - start,
        "CPU seconds": after.children_user + after.children_system - before.children_user - before.children_system,
        "peak memory, MB": peak,
    }
    shutil.rmtree(folder)
    print(text[text.find("== 7") :] if process.returncode == 0 else text)
    print(f"{'figure':<18}{'measured':>10}{'limit':>8}  met")
    for name, value in figures.items():
        limit = LIMITS.get(name)
        print(f"{name:<18}{value:>10.0f}{limit or float('nan'):>8.0f}  {'-' if limit is None else value <= limit}")
    sys.exit(process.returncode)


if __name__ == "__main__":
    main()
