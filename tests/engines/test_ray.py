"""Ray: the same bytes as on this machine, a node lost mid-job, jobs begun on one engine and finished on the other."""

import json
import os
import subprocess
import sys
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from conftest import documents, tree

import curate
from curate.engines import ray as engine
from curate.engines.local import Local
from curate.engines.ray import Ray
from curate.errors import CurateError
from curate.scoring import score

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
    assert "no Ray cluster answers at a:1: gone Check --address" in engine._unconnected("a:1", "gone")
    assert "--engine local" in engine._unconnected("local", "timed out.")


def test_a_module_that_a_node_lacks_is_named():
    result = str(engine._own(ModuleNotFoundError("No module named 'curate'")))
    assert "no module curate" in result and "\n" not in result
    own = CurateError("No module named 'x' is not our business")
    assert engine._own(own) is own


def test_a_node_of_another_version_is_refused():
    with pytest.raises(CurateError, match="Install the same on all"):
        engine._call(abs, -1, str(Path.cwd()), "0.0.0")


def test_a_task_runs_in_the_folder_of_the_command(tmp_path):
    before = Path.cwd()
    assert engine._call(Path.absolute, Path("x"), str(tmp_path), engine.__version__) == tmp_path / "x"
    assert Path.cwd() == before


@pytest.fixture(scope="module")
def ray():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(map(str, Path(__file__).parents[:2])))
        with engine.connected("local", 2) as ray:
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

        def wait(self, flying, num_returns):
            started.append(len(flying))
            return ray.wait(flying, num_returns=num_returns)

    assert sorted(engine._flow(Watched(), abs, range(12), 3)) == list(range(12))
    assert max(started) == 3


LOSE_A_NODE = """
import os
import sys
from pathlib import Path

from curate.engines import ray as engine

os.environ.update(engine.QUIET)
import ray
from ray.cluster_utils import Cluster
from curate.scoring import score
from curate.engines.ray import Ray

def main(data, out, specs):
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    cluster.add_node(num_cpus=1)
    lost = cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    ray.init(cluster.address, log_to_driver=False, logging_level="ERROR")
    killed = []

    def kill(what, done, total):
        if what == "rows scored" and done >= 60 and not killed:
            killed.append(done)
            cluster.remove_node(lost, allow_graceful=False)

    score.score([data], specs.split("+"), Path(out), engine=Ray(2), progress=kill)
    print("alive", sum(node["Alive"] for node in ray.nodes()), "killed", len(killed))
    ray.shutdown()
    cluster.shutdown()

main(*sys.argv[1:])
"""


@SLOW
@NEEDS
def test_a_node_killed_mid_job_loses_nothing(corpus, tmp_path):
    for i in range(5, 14):
        documents(20, 20 * i).write_parquet(corpus / f"{i}.parquet")
    score.score([str(corpus)], SPECS, tmp_path / "local")
    script = tmp_path / "lose.py"
    script.write_text(LOSE_A_NODE)
    command = [sys.executable, str(script), str(corpus), str(tmp_path / "ray"), "+".join(SPECS)]
    environment = {**os.environ, "PYTHONPATH": str(Path(curate.__file__).parent.parent)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    assert done.stdout.split() == ["alive", "2", "killed", "1"], done.stderr
    assert outputs(tmp_path / "ray") == outputs(tmp_path / "local")
