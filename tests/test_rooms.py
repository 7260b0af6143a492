"""Rooms import downwards, the two wings never meet, and a cold start stays light.

The floors are computed from the imports themselves; only the two wings are written down.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import curate
from curate import open_sets

ROOT = Path(curate.__file__).parent
PIPELINES = ROOT.parent / "pipelines"
ROWS = set("streaming scorers description scoring pruning training_set recycling".split())
RUNS = set("trainers schedules runs laws planning fitting selection continual designs".split())
READ_BOTH_WINGS = set("reporting recipe checking answers".split())
OPEN_SETS = set("scorers laws encoders exports trainers engines".split())
LARGEST_ROOM = 16
FILES = sorted(ROOT.rglob("*.py"))
ROOMS = sorted(p.parent.name for p in ROOT.glob("*/__init__.py"))


def module(path: Path) -> str:
    """The dotted name of a file."""
    return ".".join(("curate", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__")


MODULES = {module(path) for path in FILES}


def room(name: str) -> str:
    """The room of a module of ``curate``; the files at the root are in none."""
    parts = name.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in ROOMS else ""


# The 660 files take 3 seconds to parse, and most tests here ask for all of them.
@cache
def imported(path: Path) -> tuple[str, ...]:
    """Every module of ``curate`` or ``pipelines`` that a file imports, also inside functions."""
    return tuple(_imports(path))


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in MODULES else node.module or ""


def room_imports() -> dict[str, set[str]]:
    """The rooms that each room imports."""
    edges: dict[str, set[str]] = {name: set() for name in ROOMS}
    for path in FILES:
        if importing := room(module(path)):
            edges[importing] |= {room(name) for name in imported(path)} - {importing, ""}
    return edges


def test_files_import_each_other_without_a_circle():
    graph = {module(path): {n for n in imported(path) if n in MODULES} - {"curate", module(path)} for path in FILES}
    graph["curate"] = set()
    assert list(TopologicalSorter(graph).static_order())


def test_rooms_stand_on_floors():
    try:
        list(TopologicalSorter(room_imports()).static_order())
    except CycleError as error:
        pytest.fail(f"rooms import each other in a circle: {' -> '.join(error.args[1])}")


@pytest.mark.parametrize("name", ROOMS)
def test_the_wings_never_meet(name):
    others = room_imports()[name]
    shared = set(ROOMS) - ROWS - RUNS - READ_BOTH_WINGS
    assert not (name in ROWS and others & RUNS), f"{name} of the rows wing imports {sorted(others & RUNS)}"
    assert not (name in RUNS and others & ROWS), f"{name} of the runs wing imports {sorted(others & ROWS)}"
    assert not (name in shared and others - shared), f"{name} is shared and imports {sorted(others - shared)}"
    assert not others & READ_BOTH_WINGS or name in READ_BOTH_WINGS


def test_nothing_in_the_package_imports_the_jobs():
    assert not [path for path in FILES if any(name.split(".")[0] == "pipelines" for name in imported(path))]


def test_files_at_the_root_import_no_room():
    for path in ROOT.glob("*.py"):
        if path.stem != "__init__":
            assert not [name for name in imported(path) if room(name)], path


@pytest.mark.parametrize("name", ROOMS)
def test_a_room_is_small_and_says_what_it_is_for(name):
    files = list((ROOT / name).glob("*.py"))
    assert name in OPEN_SETS or len(files) - 1 <= LARGEST_ROOM
    doc = ast.get_docstring(ast.parse((ROOT / name / "__init__.py").read_text()))
    assert doc, f"{name} has no docstring"
    hidden = [p.name for p in files if p.name.startswith("_") and p.name != "__init__.py"]
    assert name in OPEN_SETS or not hidden, f"only an open set has files with an underscore: {hidden}"


def loaded(code: str) -> set[str]:
    """Top-level modules loaded after running ``code`` in a fresh interpreter."""
    script = f"import sys\n{code}\nprint('\\n' + ' '.join({{name.split('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


def test_importing_curate_loads_nothing():
    assert not loaded("import curate") & {"torch", "polars", "numpy", "pyarrow", "sklearn", "ot"}


def test_the_rows_wing_runs_without_torch():
    light = [n for n in open_sets.names("scorers") if "torch" not in set(imported(ROOT / "scorers" / f"{n}.py"))]
    jobs = ["scoring.score", "pruning.prune", "tables.scored", "engines.local", "encoders.hashed"]
    modules = [*jobs, *(f"scorers.{n}" for n in light)]
    assert light
    assert not loaded("\n".join(f"import curate.{m}" for m in modules)) & {"torch", "ot", "altair"}


def test_prune_loads_the_theory_of_the_rule_auto_only_for_that_rule():
    assert "scipy" not in loaded("import curate.pruning.prune")


def test_help_is_instant():
    code = (
        "from pipelines.shared.cli import main\nsys.argv = ['curate', '--help']\ntry: main()\nexcept SystemExit: pass"
    )
    assert not loaded(code) & {"torch", "polars", "numpy", "pyarrow", "sklearn", "altair"}
