"""``import curate`` offers every public name, lazily and fast; names, docstrings and results keep their promises."""

import ast
import dataclasses
import inspect
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from statistics import median

import pytest

import curate
from curate.scoring.score_options import FolderOptions, FrameOptions
from pipelines.shared.cli import jobs

ROOT = Path(curate.__file__).parent
# These commands only show something, or run the others: `interface.md` gives them no function.
WITHOUT_FUNCTION = {"demo", "list", "status"}
FUNCTIONS = sorted(name for name in curate.__all__ if name.islower())
RESULTS = sorted({"CriticalRatios", "Description", "Exported", "FitReport", "Plans", "Pools", "Predictions", "Pruned"})
RESULTS += sorted({"RecipeResult", "Report", "Runs", "Schedule", "Scored", "Selection", "TrainingSet"})


@pytest.mark.parametrize("name", curate.__all__)
def test_every_name_can_be_imported_and_says_what_it_is(name):
    value = getattr(curate, name)
    assert inspect.getdoc(value), f"curate.{name} has no docstring"


def test_the_names_for_type_checkers_are_the_lazy_ones():
    tree = ast.parse((ROOT / "__init__.py").read_text(encoding="utf-8"))
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    imports = {alias.asname: node.module for node in block.body for alias in node.names}
    assert imports == {name: f"curate.{module}" for name, module in curate._MODULES.items()}
    assert list(curate._MODULES) == sorted(curate._MODULES)


def test_every_job_has_a_function():
    assert set(jobs()) - WITHOUT_FUNCTION == set(FUNCTIONS)


def test_no_room_has_the_name_of_a_public_function():
    rooms = {path.parent.name for path in ROOT.glob("*/__init__.py")} | {path.stem for path in ROOT.glob("*.py")}
    assert not rooms & set(curate.__all__)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nosuch'"):
        _ = curate.nosuch


def test_every_public_name_is_listed_by_dir():
    assert set(curate.__all__) <= set(dir(curate))


def test_importing_takes_less_than_50_ms():
    code = "import time; start = time.process_time(); import curate; print(time.process_time() - start)"
    times = [
        float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
        for _ in range(5)
    ]
    assert median(times) < 0.05


@pytest.mark.parametrize("name", RESULTS)
def test_a_result_shows_itself(name):
    cls = getattr(curate, name)
    assert dataclasses.is_dataclass(cls)
    for method in ("table", "chart", "_repr_html_"):
        assert callable(getattr(cls, method)), f"curate.{name} has no {method}"


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_job_takes_options_by_name_and_has_types(name):
    signature = inspect.signature(getattr(curate, name))
    positional = [p for p in signature.parameters.values() if p.kind is not inspect.Parameter.KEYWORD_ONLY]
    assert len(positional) <= 3, f"curate.{name} takes {len(positional)} arguments by position"
    assert all(p.annotation is not inspect.Parameter.empty for p in signature.parameters.values())
    assert signature.return_annotation is not inspect.Signature.empty


def test_a_score_without_a_folder_takes_all_options_but_those_of_files():
    of_files = FolderOptions.__optional_keys__ - FrameOptions.__optional_keys__
    assert of_files == {"on_error", "restart", "relearn", "cache", "take_over"}


def test_score_and_prune_need_no_output_folder():
    for job in (curate.score, curate.prune):
        assert inspect.signature(job).parameters["out"].default is None


def test_rooms_export_what_their_docstring_promises():
    for path in ROOT.glob("*/__init__.py"):
        room = import_module(f"curate.{path.parent.name}")
        for name in getattr(room, "__all__", ()):
            assert hasattr(room, name), f"{path.parent.name}.{name}"
