"""pools.json, plan.json and schedule.json of earlier versions, written out as they were, and pools in memory."""

import json

import pytest

from curate.errors import SchemaError
from curate.pool import mixture
from curate.pool.pool import Pool, check_examples, load_pools, pools_hash, read_pools, to_json

OLD_POOLS = """{"made_by": {"arguments": {"by": "source"}, "inputs": {}, "seed": 0, "version": "0.1.0"}, "pools": [
 {"examples": 3, "filter": null, "name": "web", "score": {"score.length": [null, 2.5]}, "tokens": 400,
  "where": ["web.parquet"], "scores": "scores", "kept": "kept"},
 {"examples": 1, "filter": {"source": "code"}, "name": "code", "score": null, "tokens": 100, "where": []}]}"""
SMALLEST_POOLS = '{"format": 2, "pools": [{"name": "web", "tokens": 400}, {"name": "code", "tokens": 100.5}]}'
OLD_PLAN = """{"baselines": {}, "plans": [{"budget": {"params": 1e9, "tokens": 1000}, "epochs": {},
 "limits": ["max-epochs of code"], "loss": 2.0, "weights": {"code": 0.5, "web": 0.5}}],
 "pools": [{"examples": 3, "filter": null, "name": "web", "score": null, "tokens": 400, "where": []},
  {"examples": 1, "filter": null, "name": "code", "score": null, "tokens": 100, "where": []}]}"""
OLD_SCHEDULE = """{"advice": null, "epochs": {"code": 2.0, "web": 2.0}, "exhausted": {"code": 0.5, "web": 0.5},
 "limits": ["code: 42 passes"], "made_by": {"arguments": {}, "inputs": {}, "seed": 0, "version": "0.1.0"},
 "method": "piecewise", "phases": [{"from": 0.0, "to": 0.25, "weights": {"code": 1.0, "web": 0.0}},
  {"from": 0.25, "to": 1.0, "weights": {"code": 0.0, "web": 1.0}}],
 "pools": [{"examples": 3, "filter": null, "name": "web", "score": null, "tokens": 400, "where": []},
  {"examples": 1, "filter": null, "name": "code", "score": null, "tokens": 100, "where": []}],
 "scalarisation": [], "tokens": 1000.0, "variance_factor": 1.0, "weights": {"code": 0.25, "web": 0.75}}"""


def test_a_pools_file_of_the_previous_format_is_read(tmp_path):
    (tmp_path / "pools.json").write_text(OLD_POOLS)
    web, code = load_pools(tmp_path / "pools.json")
    assert web == Pool(
        "web", 400, 3, ("web.parquet",), score={"score.length": (None, 2.5)}, scores="scores", kept="kept"
    )
    assert code == Pool("code", 100, 1, filter={"source": "code"})


def test_only_name_and_tokens_are_required(tmp_path):
    (tmp_path / "pools.json").write_text(SMALLEST_POOLS)
    pools = load_pools(tmp_path / "pools.json")
    assert pools == (Pool("web", 400), Pool("code", 100.5))
    assert pools[0].examples is None
    assert to_json(pools)[0] == {"name": "web", "tokens": 400, "where": [], "filter": None, "score": None}
    (tmp_path / "again.json").write_text(json.dumps({"pools": to_json(pools)}))
    assert load_pools(tmp_path / "again.json") == pools
    with pytest.raises(SchemaError, match="pool 'web' has no count of examples, and a test needs it: add \"examples\""):
        check_examples(pools, "a test needs it")


def test_a_pools_file_of_a_later_format_is_refused(tmp_path):
    (tmp_path / "pools.json").write_text(SMALLEST_POOLS.replace('"format": 2', '"format": 3'))
    with pytest.raises(SchemaError, match="has format 3; this version of curate .* reads 1 and 2"):
        load_pools(tmp_path / "pools.json")


@pytest.mark.parametrize("change", [('"limits"', '"limits"'), ('"limits"', '"warnings"')])
def test_plans_and_schedules_with_limits_or_warnings_are_read(tmp_path, change):
    for name, text in (("plan.json", OLD_PLAN), ("schedule.json", OLD_SCHEDULE)):
        (tmp_path / name).write_text(text.replace(*change))
    plan = mixture.load(tmp_path / "plan.json")
    assert {part.pool.name: part.tokens for part in plan.parts} == {"web": 500, "code": 500}
    schedule = mixture.load(tmp_path / "schedule.json")
    assert {part.pool.name: part.phases for part in schedule.parts} == {
        "web": ((0.25, 1.0, 750),),
        "code": ((0.0, 0.25, 250),),
    }


def test_a_plan_in_memory_is_the_plan_of_its_file(tmp_path):
    (tmp_path / "plan.json").write_text(OLD_PLAN)
    memory, file = mixture.load(json.loads(OLD_PLAN)), mixture.load(str(tmp_path / "plan.json"))
    assert (memory.parts, memory.params) == (file.parts, file.params)
    assert memory.origin == "plan 0 of the plan in memory: 1,000 tokens, 1e+09 parameters"
    with pytest.raises(SchemaError, match="no field 'plans' or 'phases'"):
        mixture.load({"pools": []})


def test_pools_in_memory(tmp_path):
    pools = [Pool("web", 400, 3), Pool("code", 100)]
    assert read_pools(iter(pools)) == tuple(pools)
    (tmp_path / "pools.json").write_text(json.dumps({"pools": to_json(pools)}))
    assert read_pools(str(tmp_path / "pools.json")) == tuple(pools)
    assert pools_hash(pools) == pools_hash(load_pools(tmp_path / "pools.json")) != pools_hash(pools[:1])
    with pytest.raises(SchemaError, match="the list of pools names pool 'web' twice"):
        read_pools([*pools, pools[0]])
    with pytest.raises(SchemaError, match="the list of pools has no pools"):
        read_pools([])
