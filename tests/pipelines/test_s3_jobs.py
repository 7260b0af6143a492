"""Jobs over s3:// against a real HTTP server: the same bytes as on disk, through faults, and nothing half-written."""

import io
import os
import signal
import subprocess
import time
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

import polars as pl
import pytest
import s3
from conftest import console, documents, tree

from curate.engines.local import Local
from curate.errors import CurateError, Interrupted, SchemaError
from curate.pool import pool
from curate.scoring import score
from curate.scoring.reports import status
from curate.storage import files
from curate.storage import s3 as stores

pytestmark = [pytest.mark.slow, s3.needs_moto]
SPECS = ("length", "compression", "embedding:width=16", "prototypes:k=3")


@pytest.fixture(scope="module")
def upstream():
    with s3.server() as url:
        assert s3.request(url, "PUT", f"/{s3.BUCKET}")[0] == 200
        yield url


@pytest.fixture
def store(upstream, monkeypatch):
    """The proxy before an empty bucket, and the environment that leads to it."""
    with s3.proxy(upstream) as proxy:
        for name, value in {**s3.ENVIRONMENT, "AWS_ENDPOINT_URL": proxy.url, "AWS_MAX_ATTEMPTS": "4"}.items():
            monkeypatch.setenv(name, value)
        for key in s3.keys(upstream):
            s3.request(upstream, "DELETE", f"/{s3.BUCKET}/{quote(key)}")
        yield proxy


@pytest.fixture
def data(store, corpus):
    """The corpus as objects under s3://data/in/."""
    for name, content in tree(corpus).items():
        assert s3.request(store.upstream, "PUT", f"/{s3.BUCKET}/in/{quote(name)}", content)[0] == 200
    return f"s3://{s3.BUCKET}/in"


def scores(store, prefix="out/"):
    """The score files of a run by relative name, read past the proxy and past our code."""
    score_keys = [key for key in s3.keys(store.upstream) if key.startswith(prefix) and key.endswith(".scores.parquet")]
    return {
        key.removeprefix(prefix): s3.request(store.upstream, "GET", f"/{s3.BUCKET}/{quote(key)}")[1]
        for key in score_keys
    }


def on_disk(out):
    return {name: content for name, content in tree(out).items() if name.endswith(".scores.parquet")}


OUT = Path(f"s3://{s3.BUCKET}/out")


def test_score_prune_and_pools_give_what_they_give_on_disk(store, corpus, data, tmp_path, cli):
    scorers = [
        "--scorer",
        "length",
        "--scorer",
        "compression",
        "--scorer",
        "embedding:width=16",
        "--scorer",
        "prototypes:k=3",
    ]
    result = {}
    for where, rows in (("s3", data), ("disk", corpus)):
        base = OUT.parent / "jobs" if where == "s3" else tmp_path
        text = "s3://data/jobs" if where == "s3" else str(tmp_path)
        scored = cli("score", rows, *scorers, "--out", f"{text}/scores")
        assert scored.code == 0 and f"{text}/scores" in scored.out
        assert (
            cli("prune", f"{text}/scores", "--by", "score.compression", "--keep", 0.5, "--out", f"{text}/kept").code
            == 0
        )
        pooled = cli("pools", f"{text}/scores", "--kept", f"{text}/kept", "--out", f"{text}/pools.json", "--json")
        assert pooled.code == 0, pooled.err
        result[where] = [(p.name, p.tokens, p.examples) for p in pool.load_pools(base / "pools.json")]
        assert cli("status", f"{text}/scores").out.startswith("5 of 5 files done")
    assert result["s3"] == result["disk"]
    assert scores(store, "jobs/scores/") == on_disk(tmp_path / "scores")
    assert not Path("s3:").exists(), "a folder of that name was made here"


def test_a_glob_and_one_object_are_found(data):
    names = [name for _, name in files.listed(f"{data}/source=a/*.parquet")]
    assert sorted(names) == ["0.parquet", "2.parquet", "4.parquet"]
    assert len(files.listed(f"{data}/**/*.parquet")) == 5
    assert [name for _, name in files.listed(f"{data}/source=b/1.parquet")] == ["1.parquet"]
    with pytest.raises(SchemaError, match="no input files"):
        score.score([f"{data}/nothing"], ("length",), OUT)


def test_jsonl_and_arrow_objects_are_read(store, tmp_path):
    frame = documents(50)
    frame.write_ndjson(tmp_path / "x.jsonl")
    frame.write_ipc(tmp_path / "y.arrow", compression="zstd")
    for path in tmp_path.iterdir():
        s3.request(store.upstream, "PUT", f"/{s3.BUCKET}/in/{path.name}", path.read_bytes())
    assert score.score([f"s3://{s3.BUCKET}/in"], ("length",), OUT).rows == 100
    for content in scores(store).values():
        assert pl.read_parquet(io.BytesIO(content))["id"].equals(frame["id"])


@pytest.mark.parametrize("kind", ["500", "503", "cut", "refuse"])
def test_a_store_that_falters_changes_nothing(store, data, corpus, tmp_path, kind):
    score.score([str(corpus)], ("length",), tmp_path / "disk")
    store.faults = [s3.Fault(kind, 2, after=3 * n) for n in range(1, 5)]
    score.score([data], ("length",), OUT)
    assert sum(fault.times for fault in store.faults) == 0, "the faults were not met"
    assert scores(store) == on_disk(tmp_path / "disk")


def test_a_store_that_stalls_is_asked_again(store, data, corpus, tmp_path):
    score.score([str(corpus)], ("length",), tmp_path / "disk")
    store.faults = [s3.Fault("stall", 1, "GET", "/in/source=a/0"), s3.Fault("stall", 1, "PUT", "/out/source=b/1")]
    score.score([data], ("length",), OUT)
    assert sum(fault.times for fault in store.faults) == 0
    assert scores(store) == on_disk(tmp_path / "disk")


@pytest.mark.parametrize(
    "fault",
    [
        s3.Fault("500", 1000, "GET", "/in/source=b/1"),
        s3.Fault("cut", 1000, "GET", "/in/source=b/1"),
        s3.Fault("refuse", 1000, "HEAD", "/in/source=b/1", after=2),
        s3.Fault("503", 1000, "PUT", "/out/source=b/1"),
        s3.Fault("cut", 1000, "PUT", "/out/source=b/1"),
        s3.Fault("refuse", 1000, "PUT", "_curate/score/source=b/1"),
    ],
    ids=lambda fault: f"{fault.kind}-{fault.method}-{fault.part.replace('/', '.')}",
)
def test_a_store_that_fails_is_one_line_and_the_same_command_continues(store, data, corpus, tmp_path, cli, fault):
    score.score([str(corpus)], ("length",), tmp_path / "disk")
    fault = s3.Fault(fault.kind, fault.times, fault.method, fault.part, fault.after)
    store.faults = [fault]
    result = cli("score", data, "--scorer", "length", "--out", "s3://data/out")
    last = result.err.splitlines()[-1]
    assert result.code == 1
    assert last.startswith("curate: s3://data/") and "the store failed" in last and "same command continues" in last
    assert s3.SECRET not in result.err + result.out
    whole = on_disk(tmp_path / "disk")
    for name, content in scores(store).items():
        assert content == whole[name], "half-written, and visible"
    assert not any("quarantine" in key for key in s3.keys(store.upstream)), "a good shard was blamed"
    store.faults = []
    assert cli("score", data, "--scorer", "length", "--out", "s3://data/out").code == 0
    assert scores(store) == whole


def test_a_large_output_in_parts_appears_when_it_is_complete(store, tmp_path):
    source, target = tmp_path / "big", Path("s3://data/out/big")
    source.write_bytes(os.urandom(21 << 20))
    store.faults = [s3.Fault("500", 1000, "PUT", "partNumber=3")]
    with pytest.raises(CurateError, match="the store failed"):
        stores.put(source, target)
    assert "out/big" not in s3.keys(store.upstream)
    assert not any(seen.startswith("POST") and "uploadId" in seen for seen in store.seen), "parts were put together"
    store.faults = []
    stores.put(source, target)
    assert stores.read(target) == source.read_bytes()


def test_an_exception_while_writing_leaves_no_object(store):
    with pytest.raises(ZeroDivisionError), files.replacing(OUT / "x") as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError
    assert s3.keys(store.upstream) == []
    assert not temporary.exists()


def test_resume_skips_what_is_done_and_refuses_what_changed(store, data):
    score.score([data], ("length",), OUT)
    store.seen.clear()
    assert score.score([data], ("length",), OUT).rows == 0
    assert not [seen for seen in store.seen if seen.startswith("PUT") and ".scores.parquet" in seen]
    buffer = io.BytesIO()
    documents(20, 700).write_parquet(buffer)
    s3.request(store.upstream, "PUT", f"/{s3.BUCKET}/in/source%3Da/2.parquet", buffer.getvalue())
    with pytest.raises(Interrupted, match="source=a/2.parquet changed"):
        score.score([data], ("length",), OUT)
    states = {str(row["shard"]): row["state"] for row in status.status(OUT)}
    assert states["source=a/2.parquet"] == "refused"
    assert sum(state == "done" for state in states.values()) == 4
    assert score.score([data], ("length",), OUT, restart=True).rows == 100


def test_two_workers_write_the_same_objects(store, data, corpus, tmp_path):
    score.score([str(corpus)], SPECS, tmp_path / "disk")
    score.score([data], SPECS, OUT, engine=Local(2))
    assert scores(store) == on_disk(tmp_path / "disk")


@pytest.mark.parametrize("name", ["a/../../escape.parquet", "a//b.parquet", "a/./c.parquet"])
def test_a_key_that_leads_out_is_refused(store, name):
    assert s3.request(store.upstream, "PUT", f"/{s3.BUCKET}/in/{quote(name, safe='')}", b"x")[0] == 200
    with pytest.raises(SchemaError, match="Rename the object"):
        files.listed("s3://data/in")


def test_names_that_lead_out_of_a_prefix_are_refused():
    for name in ("../x", "a/../../x", "", "a//b", "x\0y"):
        with pytest.raises(SchemaError, match="leads out"):
            files.inside(OUT, name)


def test_a_job_killed_is_continued(store, data, corpus, tmp_path):
    score.score([str(corpus)], ("length",), tmp_path / "disk")
    store.faults = [s3.Fault("stall", 1000, "PUT", "/out/source=b/3.parquet.scores")]
    command = console("score", data, "--scorer", "length", "--out", "s3://data/out")
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until = time.monotonic() + 60
    while time.monotonic() < until and store.faults[0].times == 1000:
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    whole = on_disk(tmp_path / "disk")
    before = scores(store)
    assert 0 < len(before) < 5
    assert all(content == whole[name] for name, content in before.items())
    store.faults = []
    score.score([data], ("length",), OUT)
    assert scores(store) == whole


LEARNERS = ("duplicates", "embedding:width=16", "semdedup:k=2", "prototypes:k=3", "d2:near=3")


def test_learners_keep_their_results_in_the_store(store, data, corpus, tmp_path):
    """Two deliveries of files, the second to two workers; then a third, of which the older results are gone."""
    score.score([str(corpus)], LEARNERS, tmp_path / "disk")
    score.score([data], LEARNERS, OUT)
    assert scores(store) == on_disk(tmp_path / "disk")
    for delivery, folder in ((documents(20, 90), "source=a"), (documents(20, 300), "source=b")):
        frame = delivery.with_columns(id=pl.format(folder + "-{}", "id"))
        frame.write_parquet(corpus / folder / "new.parquet")
        content = (corpus / folder / "new.parquet").read_bytes()
        s3.request(store.upstream, "PUT", f"/{s3.BUCKET}/in/{quote(folder)}/new.parquet", content)
        if folder == "source=a":
            assert score.score([data], LEARNERS, OUT, engine=Local(2)).rows == 20
            score.score([str(corpus)], LEARNERS, tmp_path / "disk")
            assert scores(store) == on_disk(tmp_path / "disk")
    (centres,) = (key for key in s3.keys(store.upstream) if "semdedup/centres-" in key)
    content = s3.request(store.upstream, "GET", f"/{s3.BUCKET}/{quote(centres)}")[1]
    s3.request(store.upstream, "DELETE", f"/{s3.BUCKET}/{quote(centres)}")
    with pytest.raises(Interrupted, match=f"s3://{s3.BUCKET}/{centres} is missing. .*--restart"):
        score.score([data], LEARNERS, OUT)
    s3.request(store.upstream, "PUT", f"/{s3.BUCKET}/{quote(centres)}", content)
    assert score.score([data], LEARNERS, OUT).rows == 20
    score.score([str(corpus)], LEARNERS, tmp_path / "disk")
    assert scores(store) == on_disk(tmp_path / "disk")


@pytest.mark.skipif(find_spec("ray") is None, reason="ray is not installed: pip install 'curate-planner[ray]'")
def test_ray_reads_and_writes_objects(store, data, corpus, tmp_path):
    from curate.engines.ray import Ray

    score.score([str(corpus)], SPECS, tmp_path / "disk")
    score.score([data], SPECS, OUT, engine=Ray(2))
    assert scores(store) == on_disk(tmp_path / "disk")


def test_credentials_are_in_no_object_and_no_message(store, data, cli):
    cli("score", data, "--scorer", "length", "--out", "s3://data/out")
    cli("pools", "s3://data/out", "--out", "s3://data/out/pools.json")
    for key in s3.keys(store.upstream):
        content = s3.request(store.upstream, "GET", f"/{s3.BUCKET}/{quote(key)}")[1]
        assert s3.SECRET.encode() not in content and s3.ENVIRONMENT["AWS_ACCESS_KEY_ID"].encode() not in content
    result = cli("score", "s3://user:PASSWORD@data/in", "--scorer", "length", "--out", "s3://data/out")
    assert result.code == 1 and "PASSWORD" not in result.err


def test_a_recipe_runs_in_a_store_and_goes_on_there(store, data, tmp_path, monkeypatch, cli):
    monkeypatch.chdir(tmp_path)
    recipe = (
        f'[data]\npaths = ["{data}"]\n[[score]]\nscorer = "length"\n[prune]\nby = "score.length"\nkeep = 0.5\n[pools]\n'
    )
    Path("recipe.toml").write_text(recipe)
    assert cli("run", "recipe.toml", "--out", f"s3://{s3.BUCKET}/out").code == 0
    assert {"out/pools.json", "out/kept/removal.parquet", "out/_curate/recipe.json"} <= set(s3.keys(store.upstream))
    again = cli("run", "recipe.toml", "--out", f"s3://{s3.BUCKET}/out")
    assert again.out.startswith("nothing to do: all 3 steps were done before")
    assert f"s3://{s3.BUCKET}/out/scores" in again.out
    Path("recipe.toml").write_text(recipe.replace("0.5", "0.6"))
    edited = cli("run", "recipe.toml", "--out", f"s3://{s3.BUCKET}/out")
    assert "1 of 3 score: done before\n2 of 3 prune: done (keep changed (0.5 -> 0.6))" in edited.out
