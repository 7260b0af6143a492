"""A Ray cluster of four nodes: one is killed in the middle of a job, all leave, and a model stays loaded on a GPU."""

import os
import re
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import pytest
from conftest import documents, tree

import curate
from curate.engines import ray as engine
from curate.engines._ray_cluster import QUIET
from curate.engines.ray import Ray
from curate.errors import CurateError
from curate.scoring import score
from curate.scoring.learning import corpus_parts

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("ray") is None, reason="ray is not installed: pip install 'curate-planner[ray]'"),
]
SPECS = ("length", "compression", "embedding:width=16", "prototypes:k=3", "duplicates")
NODES = 4


@pytest.fixture(scope="module")
def cluster():
    """Four nodes of one core, and a head that runs no tasks."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(map(str, Path(__file__).parents[:2])))
        for name, value in QUIET.items():
            patch.setenv(name, value)
        from ray.cluster_utils import Cluster

        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
        for _ in range(NODES):
            cluster.add_node(num_cpus=1)
        cluster.wait_for_nodes()
        yield cluster
        cluster.shutdown()


def scores(out):
    return {name: data for name, data in tree(out).items() if name.endswith(".scores.parquet")}


def process(_: int) -> tuple[int, str]:
    """Return the worker that ran this task, and the GPUs that it sees."""
    time.sleep(0.05)
    return os.getpid(), os.environ.get("CUDA_VISIBLE_DEVICES", "")


@pytest.mark.parametrize("when", ["parts read", "parts read to learn duplicates", "rows scored"])
def test_a_node_killed_in_the_middle_of_a_job_loses_nothing(when, cluster, corpus, tmp_path, monkeypatch):
    # Small files share a task. Here there are to be many.
    monkeypatch.setattr(corpus_parts, "LEAST_BUNDLE_BYTES", 1)
    for i in range(5, 30):
        documents(20, 20 * i).write_parquet(corpus / f"{i}.parquet")
    killed = []

    def kill(what, done, total):
        if what == when and 0 < done < total and not killed:
            killed.append(done)
            cluster.remove_node(sorted(cluster.worker_nodes, key=str)[0], allow_graceful=False)

    score.score([str(corpus)], SPECS, tmp_path / "local")
    score.score([str(corpus)], SPECS, tmp_path / "ray", engine=Ray(address=cluster.address), progress=kill)
    nodes = len(cluster.worker_nodes)
    cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    assert nodes == NODES - 1 and len(killed) == 1
    assert scores(tmp_path / "ray") == scores(tmp_path / "local")
    assert len(scores(tmp_path / "ray")) == 30


def test_the_example_of_the_guide_runs_as_printed(corpus, tmp_path):
    guide = Path(curate.__file__).parents[1] / "docs" / "guides" / "large-data.md"
    (example,) = re.findall(r"<!-- cluster -->\n```python\n(.*?)```", guide.read_text(encoding="utf-8"), flags=re.S)
    (tmp_path / "example.py").write_text(example)
    environment = {**os.environ, **QUIET, "PYTHONPATH": str(Path(curate.__file__).parents[1])}
    command = [sys.executable, "example.py"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert scores(tmp_path / "on-ray") == scores(tmp_path / "local")
    assert len(scores(tmp_path / "local")) == 5


def test_a_node_of_another_version_is_refused_with_both(cluster, monkeypatch):
    monkeypatch.setattr(engine, "__version__", "9.9.9")
    with pytest.raises(CurateError, match=f"has curate {curate.__version__}, and this command has curate 9.9.9"):
        list(Ray(address=cluster.address).run(process, [1]))


def test_a_module_that_a_node_lacks_is_named(cluster, monkeypatch):
    module = ModuleType("only_on_the_driver")
    exec("def double(x):\n    return 2 * x", module.__dict__)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    with pytest.raises(CurateError, match="a Ray node has no module only_on_the_driver. Install curate-planner=="):
        list(Ray(address=cluster.address).run(module.double, [1]))


def variable(name: str) -> str:
    return os.environ.get(name, "")


def test_the_runtime_environment_reaches_the_nodes(cluster):
    on = Ray(address=cluster.address, runtime_env='{"env_vars": {"GREETING": "hello"}}')
    assert list(on.run(variable, ["GREETING", "POLARS_MAX_THREADS"])) in (["hello", "1"], ["1", "hello"])


def test_a_worker_keeps_its_share_of_a_gpu_from_task_to_task(cluster):
    node = cluster.add_node(num_cpus=4, num_gpus=1)
    cluster.wait_for_nodes()
    with Ray(address=cluster.address, gpus_per_worker=0.5).session() as session:
        results = [result for _ in range(3) for result in session.run(process, range(10))]
    assert {gpus for _, gpus in results} == {"0"}
    # A worker that ended after each task would load its model again for each.
    assert len({pid for pid, _ in results}) <= 3
    cluster.remove_node(node)


def test_a_cluster_that_shrinks_to_nothing_ends_the_job_which_continues_later(cluster, monkeypatch):
    monkeypatch.setattr(engine, "LOOK_SECONDS", 0.5)
    monkeypatch.setattr(engine, "PATIENCE_SECONDS", 3)
    with Ray(address=cluster.address).session() as session:
        results = session.run(process, range(200))
        next(results)
        for node in list(cluster.worker_nodes):
            cluster.remove_node(node, allow_graceful=False)
        with pytest.raises(CurateError, match=r"no node of the Ray cluster could run a task.* of 200 tasks remain"):
            list(results)
        with pytest.raises(CurateError, match="which needs 1 core and 1 GPU"):
            list(engine.RaySession(engine.RayNodes(session.nodes.ray, 1.0), 0).run(process, [1]))
        cluster.add_node(num_cpus=1)
        assert len(list(session.run(process, range(3)))) == 3
