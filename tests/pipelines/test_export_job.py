"""The export job and the mixture it reads: exact tokens, whose paths, and one clear line for every mistake."""

import json

import pytest
from conftest import one_line
from hypothesis import given
from hypothesis import strategies as st

from curate import exports, open_sets
from curate.errors import SchemaError
from curate.pool import mixture
from curate.pool.pool import Pool, to_json
from curate.schedules.job import schedule
from curate.storage import artifacts

POOLS = (
    Pool("web", 5e10, 50_000_000, ("raw/web.jsonl.zst",)),
    Pool("code", 2e9, 1_000_000, ("raw",), filter={"source": "code"}),
    Pool("a=b", 1e9, 500_000, ("raw/ab.parquet",), kept="kept"),
    Pool("unused", 1e9, 500_000),
)
SHARES = {"web": 0.7, "code": 0.25, "a=b": 0.05, "unused": 0.0}


def plan(tokens=2e10, weights=SHARES):
    return {"budget": {"tokens": tokens, "params": 1e9}, "weights": dict(weights), "epochs": {}, "loss": 2.0}


@pytest.fixture
def planned(tmp_path):
    """plan.json with one budget and its pools."""
    return saved(tmp_path / "plan.json", plan())


def saved(path, *plans, pools=POOLS):
    record = {"plans": list(plans), "baselines": {}}
    artifacts.save(path, "plan", record | ({"pools": to_json(pools)} if pools is not None else {}))
    return path


def fails(cli, *arguments, code=1):
    result = cli("export", *arguments)
    assert result.code == code, result
    assert "Traceback" not in result.err
    lines = result.err.strip().splitlines()
    assert code == 2 or (len(lines) == 1 and lines[0].startswith("curate: ")), result.err
    return result.err


def test_it_writes_the_file_and_says_what_is_in_it(cli, planned, tmp_path):
    out = tmp_path / "deep" / "mixture.py"
    result = cli("export", planned, "--to", "hf", "--out", out, "--json")
    assert result.code == 0, result
    record = json.loads(result.out)
    assert {row["pool"]: row["tokens"] for row in record["pools"]} == {
        "web": 14_000_000_000,
        "code": 5_000_000_000,
        "a=b": 1_000_000_000,
    }
    assert sum(row["tokens"] for row in record["pools"]) == record["tokens"] == 20_000_000_000
    assert [row["epochs"] for row in record["pools"]] == [0.28, 2.5, 1.0]
    assert record["left_out"] == ["unused"]
    assert record["out"] == str(out)
    assert [p.name for p in out.parent.iterdir()] == ["mixture.py"]
    text = cli("export", planned, "--to", "hf", "--out", out).out
    assert "20000000000 tokens in all" in text
    assert "left out, no tokens: unused" in text


def test_the_same_plan_gives_the_same_bytes(cli, planned, tmp_path):
    for name in ("one", "two"):
        assert cli("export", planned, "--to", "olmo", "--out", tmp_path / name).code == 0
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def paths(cli, planned, *more, to="hf"):
    result = cli("export", planned, "--to", to, "--out", planned.parent / "o", "--json", *more)
    assert result.code == 0, result
    record = json.loads(result.out)
    return {row["pool"]: row["paths"] for row in record["pools"]}, record["guessed"]


def test_a_pools_own_files_are_used_only_where_they_are_the_whole_pool(cli, planned):
    """code and a=b are rows of files that hold others too, by a filter and by decisions."""
    usual = {"code": ["data/code/*.parquet"], "a=b": ["data/a=b/*.parquet"]}
    assert paths(cli, planned) == ({"web": ["raw/web.jsonl.zst"], **usual}, ["code", "a=b"])
    shown_paths, guessed = paths(cli, planned, to="olmo")
    assert shown_paths["web"] == ["data/web/*.npy"], "OLMo-core does not read text"
    assert guessed == ["web", "code", "a=b"]


def test_paths_of_pools_and_a_pattern_for_the_others(cli, planned):
    more = [
        "--path",
        "s3://x/source={pool}/*.npy",
        "--path",
        "a=b=one.npy",
        "--path",
        "a=b=two.npy",
        "--path",
        "unused=z",
    ]
    shown_paths, guessed = paths(cli, planned, *more, to="olmo")
    assert shown_paths == {
        "web": ["s3://x/source=web/*.npy"],
        "code": ["s3://x/source=code/*.npy"],
        "a=b": ["one.npy", "two.npy"],
    }
    assert guessed == []


@pytest.mark.parametrize("path", ["nosuch=x", "x", "a=x"])
def test_a_path_of_no_pool_lists_the_pools(cli, planned, path):
    result = fails(cli, planned, "--to", "hf", "--out", planned.parent / "o", "--path", path, code=2)
    assert all(name in result for name in SHARES)


def test_help_names_every_trainer(cli):
    result = cli("export", "--help").out
    assert all(name in result for name in open_sets.names("exports"))


def test_two_patterns_are_refused(cli, planned):
    fails(cli, planned, "--to", "hf", "--out", planned.parent / "o", "--path", "{pool}", "--path", "x/{pool}", code=2)


def test_a_guessed_path_is_said(cli, planned, tmp_path):
    result = cli("export", planned, "--to", "nemo", "--out", tmp_path / "mix.txt").out
    assert "paths guessed for web, code, a=b: say where they lie with --path POOL=PATH" in result
    assert "usually named mix.yaml" in result
    assert "path guessed" in (tmp_path / "mix.txt").read_text()


def test_the_budget_is_chosen_by_its_index(cli, tmp_path):
    path = saved(tmp_path / "plan.json", plan(1e9), plan(2e10), plan(3e11))
    out = ["--to", "megatron", "--out", tmp_path / "o"]
    for more in ([], ["--budget", 3], ["--budget", -1]):
        result = fails(cli, path, *out, *more)
        assert "0 is 1e+09 tokens, 1e+09 parameters; 1 is 2e+10 tokens" in result
        assert "--budget" in result
    assert "2 is 3e+11 tokens" in result
    result = cli("export", path, *out, "--budget", 2, "--json")
    assert json.loads(result.out)["tokens"] == 300_000_000_000


def test_pools_from_their_own_file_where_the_plan_has_none(cli, tmp_path):
    path = saved(tmp_path / "plan.json", plan(), pools=None)
    out = ["--to", "mosaic", "--out", tmp_path / "o"]
    assert "does not hold its pools" in fails(cli, path, *out)
    artifacts.save(tmp_path / "pools.json", "pools", {"pools": to_json(POOLS)})
    assert cli("export", path, *out, "--pools", tmp_path / "pools.json").code == 0
    artifacts.save(tmp_path / "pools.json", "pools", {"pools": to_json(POOLS[:1])})
    result = fails(cli, path, *out, "--pools", tmp_path / "pools.json")
    assert "has a pool 'a=b' that is not among the pools: web" in result


def test_small_pools_can_be_left_out(cli, planned, tmp_path):
    result = cli("export", planned, "--to", "olmo", "--out", tmp_path / "o", "--min-share", 0.1, "--json")
    record = json.loads(result.out)
    assert record["left_out"] == ["a=b", "unused"]
    assert sum(row["tokens"] for row in record["pools"]) == 20_000_000_000
    assert [row["share"] for row in record["pools"]] == pytest.approx([0.7 / 0.95, 0.25 / 0.95])
    assert "lower --min-share" in fails(cli, planned, "--to", "olmo", "--out", tmp_path / "o", "--min-share", 0.9)


def test_an_unknown_trainer_lists_the_known_ones(cli, planned, tmp_path):
    result = fails(cli, planned, "--to", "nosuch", "--out", tmp_path / "o")
    assert "Choose one of hf, levanter, megatron, mosaic, nemo, olmo, torchtitan" in result
    assert "has no option 'x'" in fails(cli, planned, "--to", "olmo:x=1", "--out", tmp_path / "o")
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize("content", [None, "not json", "[]", "{}", '{"plans": []}', '{"plans": {}}', '{"pools": []}'])
def test_other_files_are_refused(cli, tmp_path, content):
    path = tmp_path / "x.json"
    if content is not None:
        path.write_text(content)
    assert "x.json" in fails(cli, path, "--to", "olmo", "--out", tmp_path / "o")


@pytest.mark.parametrize(
    ("wrong_plan", "message"),
    [
        ({}, "plans[0] has no field"),
        ("text", "plans[0] is 'text', not an object"),
        (
            {"budget": {"tokens": 1e9, "params": 1e9}, "weights": [1.0]},
            "plans[0].weights is a list of 1, not an object",
        ),
        (plan(weights={"web": 0.5}), "sum to 0.5: they must sum to 1"),
        (plan(weights={"web": 1.5, "code": -0.5}), "plans[0].weights.code is -0.5, which is not at least 0"),
        (plan(weights={"web": 1.0, "other": 0.0}), "has a pool 'other'"),
        (plan(weights={}), "plans[0].weights is an object, which is empty"),
        (plan(tokens=0.2), "there is nothing to train on"),
        (plan(tokens=-1.0), "plans[0].budget.tokens is -1.0, which is not above 0"),
    ],
)
def test_plans_that_cannot_be_are_refused(cli, tmp_path, wrong_plan, message):
    path = saved(tmp_path / "plan.json", wrong_plan)
    assert message in fails(cli, path, "--to", "olmo", "--out", tmp_path / "o")


@given(st.lists(st.floats(0, 1), min_size=1, max_size=10).filter(any), st.floats(1, 1e15))
def test_tokens_add_up_whatever_the_shares(tmp_path, shares, tokens):
    shares = {f"p{i}": share / sum(shares) for i, share in enumerate(shares)}
    path = saved(tmp_path / "plan.json", plan(tokens, shares), pools=[Pool(name, 1e9, 1) for name in shares])
    shown_paths = mixture.load(path)
    assert shown_paths.tokens == sum(part.tokens for part in shown_paths.parts) == round(tokens)
    assert abs(sum(shown_paths.shares) - 1) < 1e-12
    assert all(abs(part.tokens - shares[part.pool.name] * tokens) < 2 + 1e-15 * tokens for part in shown_paths.parts)
    assert {part.pool.name for part in shown_paths.parts} | set(shown_paths.left_out) == set(shares)
    assert all(shares[name] * tokens < 2 for name in shown_paths.left_out)


def test_repeated_names_in_the_pools_are_refused(tmp_path):
    with pytest.raises(SchemaError, match="names pool 'web' twice"):
        mixture.load(saved(tmp_path / "plan.json", plan(), pools=[*POOLS, POOLS[0]]))


def test_each_phase_of_a_schedule_is_a_file_and_all_tokens_add_up(cli, tmp_path):
    artifacts.save(tmp_path / "pools.json", "pools", {"pools": to_json(POOLS)})
    schedule_path = tmp_path / "s.json"
    schedule = ["--method", "cooldown", "--tokens", "20000000001", "--switch", 0.3, "--out", schedule_path]
    assert cli("schedule", tmp_path / "pools.json", *schedule).code == 0
    assert "2 phases, which end at 0.3, 1 of training" in fails(
        cli, schedule_path, "--to", "nemo", "--out", tmp_path / "x"
    )
    assert not (tmp_path / "x").exists()
    assert "has no phase 2: choose one with --phase, where 0 is 0 to 0.3; 1 is 0.3 to 1" in fails(
        cli, schedule_path, "--to", "nemo", "--phase", 2, "--out", tmp_path / "x"
    )
    assert "has no budgets: leave out --budget" in fails(
        cli, schedule_path, "--to", "nemo", "--budget", 0, "--out", tmp_path / "x"
    )
    result = [
        cli("export", schedule_path, "--to", "nemo", "--phase", i, "--out", tmp_path / f"{i}.yaml", "--json")
        for i in (0, 1)
    ]
    records = [json.loads(outcome.out) for outcome in result]
    assert [record["tokens"] for record in records] == [6_000_000_000, 14_000_000_001]
    wanted = json.loads(schedule_path.read_text())["phases"]
    for record, phase in zip(records, wanted, strict=True):
        assert sum(row["tokens"] for row in record["pools"]) == record["tokens"]
        for row in record["pools"]:
            assert row["share"] == pytest.approx(phase["weights"][row["pool"]], abs=1e-9)
    assert f"phase 1 of {schedule_path}: 0.3 to 1 of 20,000,000,001 tokens" in (tmp_path / "1.yaml").read_text()


def test_a_plan_has_no_phases(cli, planned, tmp_path):
    assert "is a plan and has no phases" in fails(cli, planned, "--to", "hf", "--phase", 0, "--out", tmp_path / "x")


def test_the_function_gives_the_file_of_the_command(cli, planned, tmp_path):
    more = ["--path", "s3://x/{pool}/*.npy", "--path", "a=b=one.npy", "--path", "a=b=two.npy"]
    assert cli("export", planned, "--to", "olmo", "--out", tmp_path / "command.yaml", *more).code == 0
    paths = {"{pool}": "s3://x/{pool}/*.npy", "a=b": ["one.npy", "two.npy"]}
    exported = exports.export(planned, "olmo", paths=paths, out=tmp_path / "function.yaml")
    assert (tmp_path / "function.yaml").read_text() == (tmp_path / "command.yaml").read_text() == exported.text
    again = exports.export(str(planned), "olmo", paths=paths)
    again.save(tmp_path / "saved.yaml")
    assert (tmp_path / "saved.yaml").read_text() == exported.text
    assert (again.path, exported.path) == (None, tmp_path / "function.yaml")


def test_plans_and_pools_in_memory_are_exported(planned):
    record = json.loads(planned.read_text())
    exported = exports.export(record, "hf")
    assert exported.mixture.origin == "plan 0 of the plan in memory: 20,000,000,000 tokens, 1e+09 parameters"
    del record["pools"]
    with pytest.raises(SchemaError, match="the plan in memory does not hold its pools"):
        exports.export(record, "hf")
    assert exports.export(record, "hf", pools=POOLS).text == exported.text
    cooled = schedule(POOLS, "cooldown", tokens=1000)
    phase = exports.export(cooled, "nemo", phase=1)
    assert phase.mixture.tokens == 500
    with pytest.raises(SchemaError, match="the schedule in memory: 1,000 tokens in 2 phases, which end at 0.5, 1 of"):
        exports.export(cooled, "nemo")


def test_what_an_export_shows(planned, tmp_path):
    exported = exports.export(planned, "nemo", out=tmp_path / "mix.txt")
    assert repr(exported) == f"Exported(nemo: 3 pools, 20000000000 tokens; {tmp_path / 'mix.txt'})"
    assert exported.table().columns == ["pool", "tokens", "share", "passes", "paths", "guessed"]
    assert [note.partition(":")[0] for note in exported.notes] == [
        "left out, no tokens",
        "paths guessed for web, code, a=b",
        "note",
    ]
    assert "paths guessed" in exported._repr_html_()
    assert exported.chart().to_dict()["mark"]["type"] == "bar"


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        ({"nosuch": "x"}, "a path for pool 'nosuch': the pools of the plan are a=b, code, unused, web"),
        ("data/*.npy", r"the path 'data/\*.npy' for all pools has no \{pool\} in it"),
    ],
)
def test_paths_for_no_pool_are_refused(planned, paths, message):
    with pytest.raises(SchemaError, match=message):
        exports.export(planned, "olmo", paths=paths)


OWN = '''
from dataclasses import dataclass

@dataclass(frozen=True)
class Csv:
    """Writes one line a pool."""

    mark: str = ","
    suffix = ".csv"
    usual = "data/{pool}"
    reads = ()

    def render(self, mixture):
        return "".join(f"{p.pool.name}{self.mark}{p.tokens}\\n" for p in mixture.parts)
'''


def test_an_export_of_the_users_own_works_from_the_command_line(cli, planned, tmp_path):
    (tmp_path / "mine.py").write_text(OWN, encoding="utf-8")
    result = cli("export", planned, "--to", f"{tmp_path}/mine.py:Csv:mark=;", "--out", tmp_path / "mixture.csv")
    assert result.code == 0, result
    lines = (tmp_path / "mixture.csv").read_text(encoding="utf-8").splitlines()
    assert lines == ["web;14000000000", "code;5000000000", "a=b;1000000000"]
    error = fails(cli, planned, "--to", f"{tmp_path}/mine.py:Csw", "--out", tmp_path / "mixture.csv")
    assert "did you mean 'Csv'?" in error


@pytest.mark.parametrize(
    "name",
    ["..", "../x", "a/../../x", ".", "/etc", "a//b", "a/", "a\0b", "-x", "web*", "[ab]", "a?", "{a,b}", "a\\b"],
)
@pytest.mark.parametrize("trainer", ["olmo", "megatron", "hf:seq_len=2048", "levanter", "mosaic", "nemo", "torchtitan"])
def test_no_path_is_guessed_from_a_name_that_leads_elsewhere(cli, tmp_path, trainer, name):
    pools = [{"name": name, "tokens": 1e9}, {"name": "web", "tokens": 1e9}]
    plans = [{"budget": {"tokens": 1e9, "params": 1e8}, "weights": {name: 0.5, "web": 0.5}}]
    plan = tmp_path / "plan.json"
    plan.write_text(json.dumps({"format": 2, "plans": plans, "pools": pools}))
    out = tmp_path / "mixture.out"
    for more in ((), ("--path", "s3://mine/{pool}/x")):
        result = cli("export", plan, "--to", trainer, "--out", out, *more)
        assert result.code == 1
        assert "Say where its data lies with --path POOL=PATH" in one_line(result)
        assert not out.exists()
    result = cli("export", plan, "--to", trainer, "--out", out, "--path", f"{name}=mine/x", "--path", "web=mine/y")
    assert result.code == 0, result.err


def test_a_hive_name_and_a_name_with_a_folder_in_it_are_guessed(cli, tmp_path):
    names = ["lang=de", "code/python", "a b"]
    pools = [{"name": name, "tokens": 1e9} for name in names]
    plans = [{"budget": {"tokens": 3e9, "params": 1e8}, "weights": dict.fromkeys(names, 1 / 3)}]
    (tmp_path / "plan.json").write_text(json.dumps({"format": 2, "plans": plans, "pools": pools}))
    result = cli("export", tmp_path / "plan.json", "--to", "olmo", "--out", tmp_path / "x.yaml")
    assert result.code == 0, result.err
    text = (tmp_path / "x.yaml").read_text()
    assert all(f"data/{name}/*.npy" in text for name in names)
