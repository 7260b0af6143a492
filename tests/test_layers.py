"""Imports point strictly down, the two halves never meet, and cold starts stay light."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import curate
from curate import plugins

ROOT = Path(curate.__file__).parent
LAYERS = {
    0: "errors progress",
    1: "stores perceptron quotas moments",
    2: "files vectors ngrams abundance",
    3: "intrinsic ipc shards writer minhash neighbours components kmeans thinning",
    4: "readers",
    5: "counts plugins pools tables artifacts manifest encoders solve regions ground ceilings transformer powers "
    "scaling",
    6: "mixture cutoffs rows order engines scorers recipes schedules limits simplex sinkhorn surrogates projection "
    "balance",
    7: "begun membership bins verdicts preflight scoring materialize recycle laws runs signal annealing harm feasible "
    "transport answers describe column firsts copies",
    8: "learning scatter blend constraints coordinates reach sources trainers phases cmr relearn continual "
    "rules removal",
    9: "score prune steps passes transported downstream aims share_path extrapolation curricula",
    10: "status fit draw next_runs",
    11: "pareto boosted corpora identify problem pilot sanity prior",
    12: "predictors plan exports rivals dcpt cross_domain",
    13: "compare near selection entries keep front share_laws",
    14: "cpt",
    15: "charts",
}
LAYER = {name: layer for layer, names in LAYERS.items() for name in names.split()}
SHARED = set(
    "errors progress stores files shards readers vectors writer counts mixture plugins pools tables artifacts".split()
)
SHARED |= set("manifest encoders rows engines perceptron ipc".split())
LEFT = set("scorers preflight scoring learning score status prune materialize recycle order begun".split())
LEFT |= set("kmeans thinning ngrams minhash neighbours components membership scatter steps draw".split())
LEFT |= set("bins cutoffs verdicts answers describe intrinsic".split())
LEFT |= set("column firsts rules balance quotas moments abundance removal copies".split())
RIGHT = set(LAYER) - SHARED - LEFT - {"charts"}
FILES = sorted(p for p in ROOT.rglob("*.py") if p != ROOT / "__init__.py")


def unit(path: Path) -> str:
    """The module or folder of ``curate`` that a file belongs to."""
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imported(path: Path) -> Iterator[str]:
    """Every ``curate.*`` or ``pipelines`` module that a file imports, also inside functions."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            if node.module == "curate":
                yield from (f"curate.{alias.name}" for alias in node.names if not alias.name.startswith("__"))
            else:
                yield node.module or ""


def units(path: Path) -> list[str]:
    return [name.split(".")[1] for name in imported(path) if name.startswith("curate.")]


def test_every_module_has_a_layer_and_a_side():
    assert {unit(p) for p in FILES} <= set(LAYER), "place a new module in LAYERS"
    assert sorted(SHARED | LEFT | RIGHT | {"charts"}) == sorted(LAYER)


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_imports_point_strictly_down(path):
    mine = unit(path)
    for other in units(path):
        assert other in LAYER, f"{path} imports curate.{other}, which has no layer"
        same_folder = other == mine and path.parent != ROOT
        assert same_folder or LAYER[other] < LAYER[mine], (
            f"{path}: {mine} ({LAYER[mine]}) imports {other} ({LAYER[other]})"
        )
        assert other != "charts", f"{path} imports charts"
        if mine in SHARED:
            assert other in SHARED, f"{path}: shared {mine} imports {other}"
        assert not (mine in LEFT and other in RIGHT), f"{path}: data half imports {other}"
        assert not (mine in RIGHT and other in LEFT), f"{path}: planning half imports {other}"
    assert not any(name.split(".")[0] == "pipelines" for name in imported(path)), f"{path} imports pipelines"


@pytest.mark.parametrize("path", [p for p in FILES if p.name == "__init__.py"], ids=unit)
def test_a_contract_is_short_and_imports_no_implementation(path):
    assert len(path.read_text().splitlines()) <= 45
    assert unit(path) not in units(path)


def loaded(code: str) -> set[str]:
    """Top-level modules loaded after running ``code`` in a fresh interpreter."""
    script = f"import sys\n{code}\nprint('\\n' + ' '.join({{name.split('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


def test_importing_curate_loads_nothing():
    assert not loaded("import curate") & {"torch", "polars", "numpy", "pyarrow", "sklearn", "ot"}


def test_the_data_half_runs_without_torch():
    light = [n for n in plugins.names("scorers") if "torch" not in set(imported(ROOT / "scorers" / f"{n}.py"))]
    modules = ["score", "prune", "rows", "engines.local", *(f"scorers.{n}" for n in light), "encoders.hashed"]
    assert light
    assert not loaded("\n".join(f"import curate.{m}" for m in modules)) & {"torch", "ot", "altair"}


def test_help_is_instant():
    code = "from pipelines._cli import main\nsys.argv = ['curate', '--help']\ntry: main()\nexcept SystemExit: pass"
    assert not loaded(code) & {"torch", "polars", "numpy", "pyarrow", "sklearn", "altair"}
