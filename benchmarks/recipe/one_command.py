"""What one recipe costs beside the four commands that it replaces, in CPU-seconds.

Text of the standard library (about 5 MB) is scored by length, compression, repetition and duplicates, pruned, pooled
and drawn. Printed: the four commands, the run of a recipe, the same run again with nothing to do, and after an edit of
[prune]. Each is a process of its own; its CPU time includes that of its workers. The outputs are compared.

Example: python benchmarks/recipe/one_command.py --scale 1
"""

import argparse
import filecmp
import os
import resource
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl

from pipelines.demo import python_text

RECIPE = """
[data]
paths = ["rows"]
[[score]]
scorer = "length"
[[score]]
scorer = "compression"
[[score]]
scorer = "repetition"
[[score]]
scorer = "duplicates"
[prune]
by = "score.compression"
keep = 0.8
balance = "source"
[pools]
[materialize]
"""
COMMANDS = (
    "score rows --scorer length --scorer compression --scorer repetition --scorer duplicates --out out/scores",
    "prune out/scores --by score.compression --keep 0.8 --balance source --out out/kept",
    "pools out/scores --kept out/kept --out out/pools.json",
    "materialize out/pools.json --out out/train",
)
PROGRAM = "import sys; from pipelines.shared.cli import main; sys.argv = ['curate', *sys.argv[1:]]; main()"


def seconds(command: str, folder: Path) -> float:
    """Return the CPU-seconds of one command line with one process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    words = [sys.executable, "-c", PROGRAM, *command.split()]
    if not command.startswith("pools"):
        words += ["--workers", "1"]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    subprocess.run(words, cwd=folder, check=True, capture_output=True, env=environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def equal(first: Path, second: Path) -> bool:
    """Return whether two folders have the same files outside the folders of records."""
    names = [
        {path.relative_to(folder) for path in folder.rglob("*") if path.is_file() and "_curate" not in path.parts}
        for folder in (first, second)
    ]
    return names[0] == names[1] and all(filecmp.cmp(first / name, second / name, shallow=False) for name in names[0])


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, default=1.0, help="of the 5 MB of text")
    scale = parser.parse_args().scale
    with TemporaryDirectory() as place:
        folder = Path(place)
        sizes = python_text.write(folder / "rows", folder / "target", 0, scale=scale)
        rows = [(f"curate {command.split()[0]}", seconds(command, folder)) for command in COMMANDS]
        rows.append(("the four commands", sum(cost for _, cost in rows)))
        (folder / "out").rename(folder / "by_commands")
        recipe = folder / "recipe.toml"
        recipe.write_text(RECIPE)
        rows.append(("curate run", seconds("run recipe.toml --out out", folder)))
        same = equal(folder / "by_commands", folder / "out")
        rows.append(("curate run again, nothing to do", seconds("run recipe.toml --out out", folder)))
        recipe.write_text(RECIPE.replace("0.8", "0.7"))
        rows.append(("curate run after an edit of keep", seconds("run recipe.toml --out out", folder)))
    total = dict(rows)["the four commands"]
    frame = pl.DataFrame(
        {
            "step": [step for step, _ in rows],
            "CPU-s": [cost for _, cost in rows],
            "of the four": [cost / total for _, cost in rows],
        }
    )
    print(f"{sum(sizes.values()) / 1e6:.1f} MB of text; the outputs are {'equal' if same else 'DIFFERENT'}")
    with pl.Config(tbl_rows=-1, float_precision=2, tbl_hide_dataframe_shape=True, tbl_hide_column_data_types=True):
        print(frame)


if __name__ == "__main__":
    main()
