"""Tables of Weights & Biases, RegMix and swarms of small runs go in as they are."""

import csv
import json

import numpy as np
import polars as pl
import pytest

from curate.errors import SchemaError
from curate.runs import run_table
from pipelines.shared.cli import run

RNG = np.random.default_rng(0)
N = 12
MIX = RNG.dirichlet(np.ones(3), N)
STATES = {5: "crashed", 7: "failed", 8: "running"}


def runs_export() -> pl.DataFrame:
    """The export of a table of runs, in which every cell is text."""
    return pl.DataFrame(
        [
            {
                "Name": f"run-{i}" if i != 3 else "run-2",
                "State": STATES.get(i, "finished"),
                "Notes": "-",
                "Tags": "",
                "Created": "2026-01-01T00:00:00.000Z",
                "ID": f"id{i}",
                "model.num_params": "70000000",
                "optimizer.weight_decay": "0.1",
                "data.mixture.web": str(MIX[i, 0]),
                "data.mixture.code": str(MIX[i, 1]),
                "data.mixture.en.books": str(MIX[i, 2]),
                "train/loss": "2.2",
                "eval/web/loss": "NaN" if i == 9 else str(2 + MIX[i, 0]),
                "eval/web/loss.min": "1.9",
                "eval/code/loss": str(3 - MIX[i, 1]),
                "throughput/total_tokens": str(int(1e9 + 1e8 * i)),
                "_step": "1000",
            }
            for i in range(N)
        ]
    )


def test_an_export_of_runs_is_read(tmp_path):
    runs_export().write_csv(tmp_path / "export.csv")
    runs = run_table.read(tmp_path / "export.csv", source="wandb")
    kept = [i for i in range(N) if i not in STATES]
    assert (runs.pools, runs.evals) == (("web", "code", "en.books"), ("web", "code"))
    assert runs.recipes().weights.numpy() == pytest.approx(MIX[kept])
    assert runs.frame["tokens"].to_list() == [1e9 + 1e8 * i for i in kept]
    # Two runs have one name, so that their identifiers follow it.
    assert runs.frame["run"].to_list()[:5] == ["run-0", "run-1", "run-2-id2", "run-2-id3", "run-4"]
    assert np.isnan(runs.loss("web", missing=True)).tolist() == [i == 9 for i in kept]
    left_out, read_as = runs.notes
    assert left_out.endswith(
        "3 of 12 rows are of runs that did not finish (1 crashed, 1 failed, 1 running), and are left out"
    )
    assert "params = model.num_params, tokens = throughput/total_tokens, loss.web = eval/web/loss" in read_as


def test_the_map_comes_before_usual_names(tmp_path):
    columns = {"tokens": "_step * 4194304", "loss.train": "train/loss"}
    runs = run_table.read(runs_export(), source="wandb", map=columns)
    assert set(runs.frame["tokens"].to_list()) == {4194304e3}
    assert runs.evals == ("train",)


CONFIGS = [
    {"lr": {"value": 3e-4, "desc": None}, "n_params": 7e7, "mixture": {"web": a, "code": 1 - a}, "_wandb": {"x": 1}}
    for a in MIX[:, 0].tolist()
]
SUMMARIES = [
    {"_step": 1000, "val_loss": 2 + a, "tokens": 1e9, "other": float("nan"), "lr": 0.0} for a in MIX[:, 0].tolist()
]


def test_dictionaries_in_cells_are_read(tmp_path):
    """The script of the documentation writes the configuration as Python prints it."""
    with (tmp_path / "project.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["", "summary", "config", "name"])
        writer.writerows([i, SUMMARIES[i], CONFIGS[i], f"r{i}"] for i in range(N))
    records = [{"name": f"r{i}", "state": "finished", "config": CONFIGS[i], "summary": SUMMARIES[i]} for i in range(N)]
    (tmp_path / "runs.json").write_text(json.dumps(records))
    (tmp_path / "runs.jsonl").write_text("\n".join(map(json.dumps, records)))
    for name in ("project.csv", "runs.json", "runs.jsonl"):
        runs = run_table.read(tmp_path / name, source="wandb")
        assert runs.recipes().weights[:, 0].numpy() == pytest.approx(MIX[:, 0])
        assert runs.loss("val") == pytest.approx(2 + MIX[:, 0])
        assert {"config.lr", "summary.lr"} < set(runs.frame.columns)
        assert not any("_wandb" in column or column.endswith(".desc") for column in runs.frame.columns)


def test_a_history_gives_one_row_for_each_measured_step(tmp_path):
    history = [
        {"_step": t, "train/loss": 3.0} if t % 2 else {"_step": t, "eval/loss": 2.5 - t / 100, "tokens": t * 1e8}
        for t in range(1, 9)
    ]
    records = [{"name": f"r{i}", "state": "finished", "config": CONFIGS[i], "history": history} for i in range(3)]
    (tmp_path / "history.json").write_text(json.dumps(records))
    runs = run_table.read(tmp_path / "history.json", source="wandb")
    assert runs.frame["run"].to_list() == [f"r{i}@{t}" for i in range(3) for t in (2, 4, 6, 8)]
    assert runs.frame["training"].to_list() == [f"r{i}" for i in range(3) for _ in range(4)]
    assert runs.frame["tokens"].to_list() == [2e8, 4e8, 6e8, 8e8] * 3
    assert runs.notes[-1].endswith("12 of 24 steps have no loss on held-out data, and are left out")


def test_the_history_of_one_run_has_the_name_of_its_file(tmp_path):
    pl.DataFrame({"_step": [0, 1, 2, 3], "_runtime": 1, "eval/loss": [None, 3.0, None, 2.5]}).write_csv(
        tmp_path / "brisk.csv"
    )
    runs = run_table.read(tmp_path / "brisk.csv", source="wandb", map=["params=70M", "tokens=_step*4194304"])
    assert runs.frame["run"].to_list() == ["brisk@1", "brisk@3"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop("model.num_params"), r"no column with a usual name for the parameters. Name it with --map"),
        (lambda t: t.drop("throughput/total_tokens"), r"usual name for the tokens.*--map 'tokens=_step \* TOKENS_PER"),
        (lambda t: t.with_columns(n_params="model.num_params"), "several columns that may hold params: model.num_par"),
        (lambda t: t.with_columns(pl.col("train/loss").alias("val/web/loss")), "both eval/web/loss and val/web/loss"),
        (lambda t: t.with_columns(State=pl.lit("crashed")), r"no run finished \(12 crashed\)"),
        (lambda t: t.with_columns(pl.lit(1).alias("brisk - loss__MIN")), "is the export of a chart"),
    ],
)
def test_an_export_without_the_columns_is_one_line(change, message):
    with pytest.raises(SchemaError, match=message) as caught:
        run_table.read(change(runs_export()), source="wandb")
    assert "\n" not in str(caught.value)


def test_a_run_that_diverged_has_no_loss_and_a_word_is_refused_where_it_is_used():
    losses = runs_export()["eval/web/loss"].to_list()
    for cell in ("inf", "-inf", "Infinity", "NaN"):
        runs = run_table.read(
            runs_export().with_columns(pl.Series("eval/web/loss", [cell, *losses[1:]])), source="wandb"
        )
        assert np.isnan(runs.loss("web", missing=True)).tolist()[:3] == [True, False, False]
    word = runs_export().with_columns(pl.Series("eval/web/loss", ["diverged", *losses[1:]]))
    runs = run_table.read(word, source="wandb")
    assert runs.evals == ("web", "code")
    with pytest.raises(SchemaError, match=r'loss\.web of run \'run-0\' is "diverged", which is not a number'):
        runs.loss("web", missing=True)
    words = runs_export().with_columns(pl.lit("70,000,000").alias("model.num_params"))
    with pytest.raises(SchemaError, match=r'params of run \'run-0\' is "70,000,000".*Write 70000000, without'):
        run_table.read(words, source="wandb")


def test_runs_without_shares_give_a_note_and_a_row_without_a_step_keeps_its_name():
    frame = pl.DataFrame(
        {"run_name": ["a", "a", "b"], "_step": [1, None, 1], "n_params": 7e7, "tokens": [1e9, 2e9, 1e9],
         "val/loss": [3.0, 2.9, 3.1]}
    )  # fmt: skip
    runs = run_table.read(frame, source="wandb")
    assert runs.frame["run"].to_list() == ["a@1", "a", "b@1"]
    assert runs.trainings.count == 2
    assert any("no column has a usual name for the share of a pool" in note for note in runs.notes)
    with pytest.raises(SchemaError, match="has no rows. Export the runs again"):
        run_table.read(frame.clear(), source="wandb")


@pytest.fixture
def regmix(tmp_path):
    """The two files of RegMix at two sizes, with the names and columns of its repository."""
    domains = ("arxiv", "github", "pile_cc")
    for size in ("1m", "60m"):
        index = pl.int_range(1, N + 1, eager=True).alias("index")
        mixtures = {f"train_the_pile_{name}": MIX[:, i] for i, name in enumerate(domains)}
        losses = {f"metric/the_pile_{name}_val_loss": 3 + MIX[:, i] for i, name in enumerate(domains)}
        pl.DataFrame({"index": index, **mixtures}).write_csv(tmp_path / f"train_mixture_{size}.csv")
        pl.DataFrame({"index": index, **losses, "metric/train_loss": 3.0})[2:].write_csv(
            tmp_path / f"train_pile_loss_{size}.csv"
        )
    return tmp_path


def test_files_of_regmix_are_joined(regmix):
    files = [regmix / "train_mixture_1m.csv", regmix / "train_pile_loss_1m.csv"]
    runs = run_table.read(files, source="regmix", map="tokens=1B")
    assert (runs.pools, runs.evals) == (("arxiv", "github", "pile_cc"), ("arxiv", "github", "pile_cc"))
    assert runs.recipes().weights.numpy() == pytest.approx(MIX[2:])
    assert runs.loss("github") == pytest.approx(3 + MIX[2:, 1])
    assert set(runs.frame["params"].to_list()) == {1e6}
    assert f"{files[0]}: 2 of 12 runs are not in {files[1]}, and are left out" in runs.notes
    with pytest.raises(SchemaError, match=r"has no column 'tokens'.* or write --map tokens=1B"):
        run_table.read(files, source="regmix")


def test_pairs_of_files_of_regmix_are_runs_of_several_sizes(regmix):
    runs = run_table.read(regmix, source="regmix", map="tokens=1B")
    assert sorted(set(runs.frame["params"].to_list())) == [1e6, 6e7]
    assert len(runs) == 20 and runs.frame["run"].n_unique() == 20
    wrong = [regmix / "train_mixture_1m.csv", regmix / "train_pile_loss_60m.csv"]
    with pytest.raises(SchemaError, match=r"have different sizes in their names \(1m, 60m\)"):
        run_table.read(wrong, source="regmix", map="tokens=1B")
    with pytest.raises(SchemaError, match=r"1 hold mixtures \(columns train_<domain>\) and 0 hold results"):
        run_table.read(wrong[:1], source="regmix", map="tokens=1B")


@pytest.fixture
def swarm(tmp_path):
    """Ratios and metrics of a swarm, whose domains have any names."""
    names = {"run_id": [f"x{i}" for i in range(N)], "name": [f"swarm {i}" for i in range(N)]}
    domains = {"dressed:science & tech": MIX[:, 0], "code.py": MIX[:, 1], "lang=de": MIX[:, 2]}
    pl.DataFrame({**names, **domains}).write_csv(tmp_path / "ratios.csv")
    metrics = {"mmlu_bpb": RNG.uniform(1, 2, N), "arc:rc::olmes": RNG.uniform(1, 2, N), "metric.acc": 0.3}
    pl.DataFrame({**names, **metrics})[::-1][:-2].write_csv(tmp_path / "metrics.csv")
    return tmp_path


def test_a_swarm_is_joined_on_its_run_id(swarm, tmp_path):
    flags = ("--from", "swarm", "--map", "params=30M", "--map", "tokens=3B")
    runs = run_table.read(swarm, source="swarm", map=flags[3::2])
    assert runs.pools == ("dressed:science & tech", "code.py", "lang=de")
    assert runs.evals == ("mmlu_bpb", "arc:rc::olmes")
    assert runs.recipes().weights.numpy() == pytest.approx(MIX[2:])
    metrics = pl.read_csv(swarm / "metrics.csv").sort(pl.col("run_id").str.slice(1).cast(int))
    assert runs.loss("mmlu_bpb") == pytest.approx(metrics["mmlu_bpb"].to_numpy())
    assert runs.frame["metric.acc"].to_list() == [0.3] * 10
    run("fit", swarm / "ratios.csv", swarm / "metrics.csv", *flags, "--eval", "mmlu_bpb", "--law", "mixing",
        "--metric", "none", "--starts", 2, "--draws", 2, "--out", tmp_path / "fit.json")  # fmt: skip
    record = json.loads((tmp_path / "fit.json").read_text())
    assert record["made_by"]["arguments"]["from"] == "swarm"
    assert record["laws"][0]["pools"] == list(runs.pools)


def test_a_swarm_that_cannot_be_joined_is_one_line(swarm):
    ratios, metrics = pl.read_csv(swarm / "ratios.csv"), pl.read_csv(swarm / "metrics.csv")
    for changed, message in (
        (metrics.rename({"run_id": "a", "name": "b"}), "have no column in common that names a run"),
        (
            metrics.with_columns(pl.col("run_id") + "y"),
            "no run_id is in both files. The first ones are 'x0' and 'x11y'",
        ),
        (pl.concat([metrics, metrics]), "run_id x11 is in more than one row"),
        (ratios.with_columns(pl.col("run_id")), "2 hold mixtures"),
    ):
        with pytest.raises(SchemaError, match=message) as caught:
            run_table.read([ratios, changed], source="swarm")
        assert "\n" not in str(caught.value)


def test_a_word_in_a_swarm_is_named_and_its_column_is_kept(swarm):
    """A column with one word used to be no column of numbers, so that its eval was lost without a word."""
    ratios, metrics = pl.read_csv(swarm / "ratios.csv"), pl.read_csv(swarm / "metrics.csv")
    word = pl.when(pl.col("run_id") == "x4").then(pl.lit("oops"))
    sizes = ["params=30M", "tokens=3B"]
    lost = metrics.with_columns(word.otherwise(pl.col("mmlu_bpb").cast(str)).alias("mmlu_bpb"))
    runs = run_table.read([ratios, lost], source="swarm", map=sizes)
    assert runs.evals == ("mmlu_bpb", "arc:rc::olmes")
    with pytest.raises(SchemaError, match=r'loss\.mmlu_bpb of run \'x4\' is "oops", which is not a number'):
        runs.loss("mmlu_bpb")
    share = ratios.with_columns(word.otherwise(pl.col("code.py").cast(str)).alias("code.py"))
    with pytest.raises(SchemaError, match=r'weight\.code\.py of run \'x4\' is "oops", which is not a number'):
        run_table.read([share, metrics], source="swarm", map=sizes)
    texts = ratios.with_columns(pl.col("code.py").cast(str))
    runs = run_table.read([texts, metrics], source="swarm", map=sizes)
    assert runs.recipes().weights.numpy() == pytest.approx(MIX[2:])
    extra = ratios.with_columns(row=pl.int_range(N))
    with pytest.raises(SchemaError, match=r"0 hold mixtures .* lang=de, row sum to between 1 and 12\. In the rows of"):
        run_table.read([extra, metrics], source="swarm", map=sizes)


def test_an_unknown_program_is_one_line():
    with pytest.raises(SchemaError, match="--from 'wand' is not wandb or regmix or swarm; did you mean 'wandb'?"):
        run_table.read(runs_export(), source="wand")
