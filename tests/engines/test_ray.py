"""Ray: the same bytes as on this machine, jobs begun on one engine and finished on the other, and clear errors."""

import json
import os
import platform
import sys
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from conftest import tree

import curate
from curate.engines import _ray_cluster, _ray_task
from curate.engines import ray as engine
from curate.engines.local import Local
from curate.engines.ray import Ray
from curate.errors import CurateError
from curate.scoring import score
from pipelines.shared import failures

SPECS = ("length", "compression", "embedding:width=16", "prototypes:k=3")
SLOW = pytest.mark.slow
NEEDS = pytest.mark.skipif(find_spec("ray") is None, reason="ray is not installed: pip install 'curate-planner[ray]'")


def outputs(out):
    return {name: data for name, data in tree(out).items() if name.endswith(".scores.parquet")}


def written(out):
    """The times of the score files that the manifest says are done."""
    done = [p.relative_to(out / "_curate" / "score") for p in (out / "_curate" / "score").rglob("*.json")]
    files = [out / f"{str(name).removesuffix('.json')}.scores.parquet" for name in done]
    return {p.name: p.stat().st_mtime_ns for p in files}


MISSING = "the ray engine needs the package ray: pip install 'curate-planner[ray]'"


class Stop(Exception):
    pass


def test_without_ray_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(CurateError, match=r"pip install 'curate-planner\[ray\]'"):
        Ray()


def test_the_command_line_says_so_too(cli, corpus, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    result = cli("score", corpus, "--scorer", "length", "--out", tmp_path / "out", "--engine", "ray")
    assert result.code == 1
    assert result.err == f"curate: {MISSING}\n"
    result = cli("score", corpus, "--scorer", "length", "--out", tmp_path / "out", "--address", "a:1")
    assert result.code == 2 and "--address" in result.err


def test_a_cluster_that_does_not_answer_is_one_line():
    assert "no Ray cluster answers at a:1: gone Check --address" in _ray_cluster.unconnected("a:1", "gone")
    assert "--engine local" in _ray_cluster.unconnected("local", "timed out.")


@pytest.mark.parametrize(
    "text, message",
    [
        ("{", "is not JSON"),
        ('{"pip": }', "is not JSON"),
        ("absent.json", "--runtime-env absent.json: No such file or directory. Give a file of JSON, or JSON: "),
        ("list.json", "--runtime-env list.json is not a JSON object"),
    ],
)
def test_a_runtime_environment_that_is_not_json_is_one_line(text, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "list.json").write_text("[1]")
    with pytest.raises(CurateError) as caught:
        _ray_cluster.parsed_environment(text)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_a_runtime_environment_is_json_or_a_file_of_it(tmp_path):
    (tmp_path / "env.json").write_text('{"pip": ["a"]}')
    assert _ray_cluster.parsed_environment(str(tmp_path / "env.json")) == {"pip": ["a"]}
    assert _ray_cluster.parsed_environment(' {"pip": ["a"]}') == {"pip": ["a"]}
    assert _ray_cluster.parsed_environment("") == {}


class Nodes:
    """The part of the module ray that lists nodes."""

    def __init__(self, *resources, dead=()):
        self.rows = [{"Alive": True, "Resources": each} for each in resources]
        self.rows += [{"Alive": False, "Resources": each} for each in dead]

    def nodes(self):
        return self.rows


@pytest.mark.parametrize(
    "nodes, gpus, slots",
    [
        (Nodes({"CPU": 4.0}, {"CPU": 2.0}, {}, dead=[{"CPU": 9.0}]), 0, 6),
        (Nodes({"CPU": 4.0, "GPU": 1.0}, {"CPU": 2.0}), 0.25, 4),
        (Nodes({"CPU": 4.0, "GPU": 1.0}, {"CPU": 2.0, "GPU": 8.0}), 1, 3),
        (Nodes({"CPU": 64.0, "GPU": 3.0}), 0.1, 30),
        (Nodes({"CPU": 4.0}), 1, 0),
    ],
)
def test_the_tasks_that_fit_on_the_nodes_are_counted(nodes, gpus, slots):
    assert _ray_cluster.slots(nodes, gpus) == slots


def test_a_module_that_a_node_lacks_is_named():
    result = str(_ray_task.own_error(ModuleNotFoundError("No module named 'curate'")))
    assert "no module curate." in result and f"curate-planner=={curate.__version__}" in result and "\n" not in result
    own = CurateError("No module named 'x' is not our business")
    assert _ray_task.own_error(own) is own


def test_code_that_a_node_lacks_is_another_version():
    absent = AttributeError("Can't get attribute 'Task' on <module 'curate.scoring'>")
    assert "it seems to have another version" in str(_ray_task.own_error(absent))
    assert _ray_task.own_error(AttributeError("x has no attribute y")).args == ("x has no attribute y",)


def test_a_node_of_another_version_is_refused_with_both():
    with pytest.raises(
        CurateError, match=f"has curate {curate.__version__}, and this command has curate 0.0.0"
    ) as caught:
        _ray_task.call(abs, -1, str(Path.cwd()), "0.0.0")
    assert platform.node() in str(caught.value) and "pip" in str(caught.value)


def test_a_task_runs_in_the_folder_of_the_command(tmp_path):
    before = Path.cwd()
    assert _ray_task.call(Path.absolute, Path("x"), str(tmp_path), curate.__version__) == tmp_path / "x"
    assert Path.cwd() == before


def test_an_error_of_the_system_names_the_node(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError) as caught:
        _ray_task.call(Path.stat, tmp_path / "file" / "below", str(tmp_path), curate.__version__)
    assert caught.value.filename == str(tmp_path / "file" / "below")
    line = failures.failure(caught.value, "score").message
    assert line.startswith(f"{tmp_path}/file/below: Not a directory (on Ray node {platform.node()}): a part of")


def test_a_node_without_the_folder_of_the_command_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(_ray_task, "SECONDS_TO_SEE", 0.1)
    with engine._marked([tmp_path / "out", Path("s3://bucket/out")]) as marks:
        assert len(marks) == 1
        assert _ray_task.call(abs, -1, str(tmp_path), curate.__version__, marks) == 1
    other = str(tmp_path / "other" / ".curate-x.tmp")
    with pytest.raises(CurateError, match=f"does not have the folder {tmp_path}/other of this command"):
        _ray_task.call(abs, -1, str(tmp_path), curate.__version__, (other,))
    assert not list((tmp_path / "out").iterdir())


@pytest.fixture(scope="module")
def ray():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(map(str, Path(__file__).parents[:2])))
        with _ray_cluster.connected("local", 2) as ray:
            yield ray


@SLOW
@NEEDS
def test_ray_and_local_write_identical_bytes(ray, corpus, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # relative paths mean the same on a node
    for name, on in (("local", Local(1)), ("ray", Ray(2))):
        score.score(["data"], SPECS, Path(name), engine=on)
    assert outputs(tmp_path / "local") == outputs(tmp_path / "ray")
    assert len(outputs(tmp_path / "ray")) == 5


@SLOW
@NEEDS
def test_the_command_line_runs_on_ray(ray, corpus, tmp_path, cli):
    result = cli("score", corpus, "--scorer", "length", "--out", tmp_path / "out", "--engine", "ray", "--json")
    assert result.code == 0, result.err
    assert json.loads(result.out)["rows"] == 100
    assert len(outputs(tmp_path / "out")) == 5


@SLOW
@NEEDS
@pytest.mark.parametrize("first, second", [(Local, Ray), (Ray, Local)], ids=["local-ray", "ray-local"])
def test_a_job_begun_on_one_engine_is_finished_on_the_other(ray, corpus, tmp_path, first, second):
    def stop_after_two_files(what, done, total):
        if what == "rows scored" and done >= 60:  # the third is not recorded yet
            raise Stop

    score.score([str(corpus)], SPECS, tmp_path / "whole")
    with pytest.raises(Stop):
        score.score([str(corpus)], SPECS, tmp_path / "out", engine=first(2), progress=stop_after_two_files)
    before = written(tmp_path / "out")
    score.score([str(corpus)], SPECS, tmp_path / "out", engine=second(2))
    after = written(tmp_path / "out")
    assert len(before) >= 2
    assert all(after[name] == time for name, time in before.items()), "what was done was done again"
    assert outputs(tmp_path / "out") == outputs(tmp_path / "whole")


def shared_address(held, task):
    return held.__array_interface__["data"][0] != 0, held.flags.writeable, float(held[task])


@SLOW
@NEEDS
def test_what_a_function_holds_goes_to_the_nodes_once_and_is_shared(ray):
    held = np.arange(1e6)
    addresses = list(Ray(2).run(partial(shared_address, held), range(6)))
    assert all(not writeable for _, writeable, _ in addresses), "a copy of its own, not the object store's"
    assert sorted(value for _, _, value in addresses) == list(range(6))


@SLOW
@NEEDS
def test_no_more_tasks_are_started_than_asked_for(ray, tmp_path):
    started = []

    class Watched:
        """ray, but for counting what is in flight."""

        def __getattr__(self, name):
            return getattr(ray, name)

        def wait(self, flying, num_returns, timeout):
            started.append(len(flying))
            return ray.wait(flying, num_returns=num_returns, timeout=timeout)

    assert sorted(engine.RaySession(engine.RayNodes(Watched()), 3).run(abs, range(12))) == list(range(12))
    assert max(started) == 3
