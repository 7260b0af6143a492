"""Measures of a data set: manifolds of known dimension, a toy for sharpness, extremes of Vendi and overlap."""

import json

import numpy as np
import polars as pl
import pytest
from conftest import console, documents
from scipy.spatial import cKDTree
from scipy.stats import ortho_group

from curate.description import describe, measures
from curate.errors import SchemaError


def vectors(x):
    return pl.Series("emb.x", np.asarray(x, np.float32), dtype=pl.Array(pl.Float32, np.shape(x)[1]))


def rows(x, prefix="d", **more):
    return pl.DataFrame({"id": [f"{prefix}{i}" for i in range(len(x))], "emb.x": vectors(x), **more})


def inside(x, width, seed=0):
    """Turn (n, k) points into (n, width) without changing distances."""
    return np.pad(x, ((0, 0), (0, width - x.shape[1]))) @ ortho_group.rvs(width, random_state=seed)


# ---------------------------------------------------------------- oracles


def test_neighbours_are_those_of_a_tree(monkeypatch):
    x = np.random.default_rng(0).normal(size=(300, 5)) + 1000  # far from the origin: squares lose digits
    distances, places = cKDTree(x).query(x, 8)
    monkeypatch.setattr(measures, "BLOCK", 300 * 7)
    nearest, near = measures.neighbours(x, 7)
    assert np.allclose(nearest, distances[:, 1:], rtol=1e-12)
    assert (near == places[:, 1:]).all()


@pytest.mark.parametrize(("shape", "true"), [("gaussian", 2), ("gaussian", 5), ("cube", 3), ("sphere", 4), ("roll", 2)])
def test_dimensions_of_known_manifolds(shape, true):
    rng = np.random.default_rng(true)
    if shape == "sphere":
        x = rng.normal(size=(2000, true + 1))
        x /= np.linalg.norm(x, axis=1, keepdims=True)
    elif shape == "roll":
        t, height = 3 + 9 * rng.random(2000), 20 * rng.random(2000)
        x = np.column_stack([t * np.cos(t), height, t * np.sin(t)])
    else:
        x = rng.normal(size=(2000, true)) if shape == "gaussian" else rng.random((2000, true))
    distances, _ = measures.neighbours(inside(x, 30), 20)
    for value in (measures.dimension(distances), measures.two_nn(distances)):
        assert value == pytest.approx(true, rel=0.1)


def test_the_likelihood_estimate_by_hand():
    """One row: T = 1, 2, 4; mean of ln(4/1), ln(4/2) is 1.5 ln 2. Two rows average the inverses."""
    distances = np.array([[1.0, 2.0, 4.0]])
    assert measures.dimension(distances) == pytest.approx(1 / (1.5 * np.log(2)))
    both = np.array([[1.0, 2.0, 4.0], [1.0, 1.0, 4.0]])
    assert measures.dimension(both) == pytest.approx(2 / (1.5 * np.log(2) + np.log(4)))


def test_label_sharpness_is_of_rows_with_different_labels():
    """scorers.md 2.9: the definition gives 0.1; comparing equal labels, as the released code does, gives 10."""
    x = np.array([[0.0], [0.1], [10.1]])
    assert measures.sharpness(x, ["a", "a", "b"]) == pytest.approx(0.1)
    assert measures.sharpness(x, [1, 1, 1]) is None


def test_label_sharpness_by_brute_force(monkeypatch):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 4)) + 100, rng.integers(0, 3, 60)
    pairs = [(i, j) for i in range(60) for j in range(i) if y[i] != y[j]]
    monkeypatch.setattr(measures, "BLOCK", 60 * 11)
    assert measures.sharpness(x, y) == pytest.approx(max(1 / np.linalg.norm(x[i] - x[j]) for i, j in pairs))


def test_vendi_of_equal_orthogonal_and_mixed_rows():
    assert measures.vendi(np.ones((7, 3))) == pytest.approx(1)
    assert measures.vendi(np.eye(6) * [[1], [2], [3], [4], [5], [6]]) == pytest.approx(6)
    assert measures.vendi(np.repeat(np.eye(3), 5, axis=0)) == pytest.approx(3)
    assert measures.vendi(np.vstack([np.eye(3), np.zeros((2, 3))])) == pytest.approx(3)
    assert measures.vendi(np.zeros((2, 3))) == 0
    x = np.random.default_rng(0).normal(size=(9, 30))
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    values = np.linalg.eigvalsh(unit @ unit.T / 9)
    assert measures.vendi(x) == pytest.approx(np.exp(-(values * np.log(values)).sum()))
    assert measures.vendi(np.vstack([x, x])) == pytest.approx(measures.vendi(x))


def test_overlap_of_sources_alike_and_apart():
    rng = np.random.default_rng(0)
    names = ["a"] * 400 + ["b"] * 100 + ["c"] * 200
    x = rng.normal(size=(700, 3))
    x[500:] += 50
    sorted_names, shares = measures.overlap(measures.neighbours(x, 1)[1][:, 0], names)
    assert sorted_names == ["a", "b", "c"]
    assert shares.sum(axis=1) == pytest.approx([1, 1, 1])
    assert np.allclose(shares[:2, :2], 0.5, atol=0.1), "four times as many rows of a do not make it nearer"
    assert shares[2].tolist() == [0, 0, 1]


# ---------------------------------------------------------------- a data set


def test_duplicates_are_left_out_and_counted(tmp_path):
    x = np.random.default_rng(0).normal(size=(200, 4))
    both = np.vstack([x, x[:30]])
    rows(both, label=[i % 3 for i in range(200)] + [(i + (i < 5)) % 3 for i in range(30)]).write_parquet(
        tmp_path / "a.parquet"
    )
    rows(x, label=[i % 3 for i in range(200)]).write_parquet(tmp_path / "b.parquet")
    description = describe.describe([str(tmp_path / "a.parquet")], embedding="emb.x")
    alone = describe.describe([str(tmp_path / "b.parquet")], embedding="emb.x")
    assert (description.rows, description.sample, description.duplicates, description.conflicts) == (230, 230, 30, 5)
    assert description.dimension[0] == pytest.approx(alone.dimension[0])
    assert description.vendi == pytest.approx(alone.vendi)
    assert any("5 rows equal another row but have another label" in note for note in description.notes)


def test_the_sample_is_the_same_in_any_order_and_any_files(tmp_path):
    x = np.random.default_rng(0).normal(size=(600, 4))
    frame = rows(x, label=[i % 2 for i in range(600)], source=["s", "t", "u"] * 200)
    for name, parts in (("one", [frame]), ("two", [frame[::-1][:250], frame[::-1][250:]])):
        (tmp_path / name).mkdir()
        for i, part in enumerate(parts):
            part.write_parquet(tmp_path / name / f"{i}.parquet")
    first, second = (describe.describe([str(tmp_path / n)], embedding="emb.x", sample=200) for n in ("one", "two"))
    other = describe.describe([str(tmp_path / "one")], embedding="emb.x", sample=200, seed=1)
    assert first.sample == 200
    assert (first.dimension, first.sharpness, first.vendi) == (second.dimension, second.sharpness, second.vendi)
    assert first.sources.equals(second.sources)
    assert first.overlap.equals(second.overlap)
    assert first.dimension != other.dimension
    assert first.sources["rows"].to_list() == [200, 200, 200]
    assert first.sources["sample"].to_list() == [66, 66, 66]


def test_the_job_describes_texts_and_writes_what_made_it(cli, tmp_path):
    for source in ("a", "b"):
        folder = tmp_path / "data" / f"source={source}"
        folder.mkdir(parents=True)
        documents(60, 0 if source == "a" else 500).write_parquet(folder / "0.parquet")
    arguments = ("describe", tmp_path / "data", "--encoder", "hashed:width=32", "--neighbours", "5")
    run = cli(*arguments, "--json", "--out", tmp_path / "d.json")
    assert run.code == 0
    record = json.loads(run.out)
    assert record["sample"] == record["rows"] == 120
    assert record["sharpness"] is None
    assert "no label column" in run.err
    assert [row["source"] for row in record["overlap"]] == ["a", "b"]
    saved = json.loads((tmp_path / "d.json").read_text())
    assert {k: saved[k] for k in record} == record
    assert len(saved["made_by"]["inputs"]) == 2
    words = cli(*arguments)
    assert "120 rows; 120 sampled, " in words.out
    assert "by TwoNN" in words.out


@pytest.mark.parametrize(
    ("x", "options", "message"),
    [
        (np.ones((50, 3)), {}, "1 different vectors in a sample of 50 rows of 50; 20 neighbours need at least 42"),
        (np.zeros((0, 3)), {}, "0 different vectors"),
        (np.eye(9), {"neighbours": 1}, "neighbours=1 must be at least 2"),
        (np.eye(9), {"sample": 41}, "sample=41 at least 42"),
        (np.eye(9), {"embedding": "emb.y"}, "has no column 'emb.y'"),
        (np.eye(9), {"embedding": ""}, "has no column 'text'"),
    ],
)
def test_bad_input_is_one_clear_line(tmp_path, x, options, message):
    rows(x).write_parquet(tmp_path / "a.parquet")
    with pytest.raises(SchemaError, match=message) as caught:
        describe.describe([str(tmp_path / "a.parquet")], **({"embedding": "emb.x"} | options))
    assert "\n" not in str(caught.value)


def test_one_label_and_many_sources_are_notes(tmp_path):
    x = np.random.default_rng(0).normal(size=(60, 3))
    rows(x, label=["a"] * 60, source=[f"s{i % 30}" for i in range(60)]).write_parquet(tmp_path / "a.parquet")
    description = describe.describe([str(tmp_path / "a.parquet")], embedding="emb.x", sample=50, neighbours=5)
    assert description.sharpness is None
    assert description.overlap is None
    assert len(description.notes) == 2


def test_a_column_that_holds_no_vectors(tmp_path):
    with pytest.raises(SchemaError, match="embedding=label is not a column of vectors"):
        describe.describe([str(tmp_path)], embedding="label")


@pytest.mark.parametrize("encoder", ["pixels:width=3", "precomputed:path={}/table"])
def test_encoders_read_what_they_read_when_they_score(tmp_path, encoder):
    """Images and ids, not texts: the same numbers as from the column of vectors."""
    x = np.random.default_rng(0).integers(0, 256, (60, 3))
    vectors_column = pl.Series("emb.x", (x / np.float32(255)).astype(np.float32), dtype=pl.Array(pl.Float32, 3))
    frame = documents(60).select(pl.lit("no vector").alias("text"), id=pl.Series([f"r{i}" for i in range(60)]))
    frame = frame.with_columns(vectors_column, pl.Series("image", [bytes(row) for row in x.tolist()]))
    for folder, columns in (("data", frame.columns), ("table", ["id", "emb.x"])):
        (tmp_path / folder).mkdir()
        frame.select(columns).write_parquet(tmp_path / folder / "0.parquet")
    data = [str(tmp_path / "data")]
    description = describe.describe(data, encoder=encoder.format(tmp_path))
    assert description.dimension == describe.describe(data, embedding="emb.x").dimension


# ---------------------------------------------------------------- results, tables in memory


def two_sources(rows_of_each=60):
    """Texts of two sources, with an id and a label."""
    frame = documents(2 * rows_of_each)
    labels = [i % 3 for i in range(frame.height)]
    return frame.with_columns(source=pl.Series(["a", "b"] * rows_of_each), label=pl.Series(labels))


OPTIONS = {"encoder": "hashed:width=32", "neighbours": 5}


def test_a_table_in_memory_is_described_as_its_file(tmp_path):
    frame = two_sources()
    frame.write_parquet(tmp_path / "a.parquet")
    of_file = describe.describe(tmp_path / "a.parquet", **OPTIONS)
    for table in (frame, frame.lazy(), frame.to_arrow()):
        assert describe.describe(table, **OPTIONS).record() == of_file.record()
    renamed = frame.rename({"text": "body"})
    assert describe.describe(renamed, text_column="body", **OPTIONS).record() == of_file.record()


@pytest.mark.parametrize("kind", [pl.Array(pl.Float64, 4), pl.List(pl.Float64), pl.Array(pl.Float32, 4)])
def test_vectors_in_memory_may_be_any_lists(tmp_path, kind):
    frame = rows(np.random.default_rng(0).normal(size=(100, 4)))
    frame.write_parquet(tmp_path / "a.parquet")
    of_file = describe.describe([tmp_path / "a.parquet"], embedding="emb.x")
    of_table = describe.describe(frame.with_columns(pl.col("emb.x").cast(kind)), embedding="emb.x")
    assert of_table.dimension == of_file.dimension
    without_id = describe.describe(frame.drop("id"), embedding="emb.x")
    assert without_id.dimension[0] == pytest.approx(of_file.dimension[0])


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (pl.DataFrame({"body": ["x"]}), "data has no column 'text'; it has body"),
        (pl.DataFrame({"text": []}, schema={"text": pl.String}), "0 different vectors in a sample of 0 rows"),
        (3, "int is not a table"),
    ],
)
def test_a_table_that_cannot_be_described_is_one_clear_line(table, message):
    with pytest.raises(SchemaError, match=message) as caught:
        describe.describe(table)
    assert "\n" not in str(caught.value)


def test_a_vector_in_memory_that_is_not_finite_is_named():
    x = np.zeros((100, 4))
    x[7, 2] = np.nan
    with pytest.raises(SchemaError, match="data: emb.x is NaN.* 1 rows .* id 'd7'"):
        describe.describe(rows(x), embedding="emb.x")


def test_a_description_saves_what_the_command_writes(cli, tmp_path):
    two_sources().write_parquet(tmp_path / "a.parquet")
    run = cli(
        "describe", tmp_path / "a.parquet", "--encoder", OPTIONS["encoder"], "--neighbours", 5, "--out", tmp_path / "c"
    )
    assert run.code == 0
    describe.describe([str(tmp_path / "a.parquet")], **OPTIONS).save(tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == (tmp_path / "c").read_bytes()
    describe.describe(two_sources(), **OPTIONS).save(tmp_path / "m")
    made_by = json.loads((tmp_path / "m").read_text())["made_by"]
    assert made_by["arguments"]["data"] == ["data"]
    assert list(made_by["inputs"]) == ["data"]


def test_a_description_shows_itself():
    both, single = (describe.describe(frame, **OPTIONS) for frame in (two_sources(), two_sources().drop("source")))
    table = both.table()
    assert table.columns == ["measure", "source", "value"]
    assert table.filter(measure="rows")["value"].to_list() == [120, 60, 60]
    assert table.filter(measure="vendi", source="b")["value"][0] == pytest.approx(both.sources["vendi"][1])
    assert both.chart().to_dict()["mark"]["type"] == "rect"
    assert single.chart().to_dict()["mark"]["type"] == "bar"
    assert len(repr(both).splitlines()) == 2 and "120 rows" in repr(both)
    assert both._repr_html_().count("<table") == 2 and single._repr_html_().count("<table") == 1


def test_the_job_runs_without_torch(tmp_path, without_torch):
    two_sources().write_parquet(tmp_path / "a.parquet")
    run = without_torch(*console("describe", tmp_path / "a.parquet", "--neighbours", 5, "--json"))
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout)["rows"] == 120
