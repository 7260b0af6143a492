"""What is said of a data set: manifolds of known dimension, a toy for sharpness, extremes of Vendi and overlap."""

import json

import numpy as np
import polars as pl
import pytest
from conftest import documents
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
    got, near = measures.neighbours(x, 7)
    assert np.allclose(got, distances[:, 1:], rtol=1e-12)
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
    one = np.array([[1.0, 2.0, 4.0]])
    assert measures.dimension(one) == pytest.approx(1 / (1.5 * np.log(2)))
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
    found, shares = measures.overlap(measures.neighbours(x, 1)[1][:, 0], names)
    assert found == ["a", "b", "c"]
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
    got = describe.describe([str(tmp_path / "a.parquet")], embedding="emb.x")
    alone = describe.describe([str(tmp_path / "b.parquet")], embedding="emb.x")
    assert (got.rows, got.sample, got.duplicates, got.conflicts) == (230, 230, 30, 5)
    assert got.dimension[0] == pytest.approx(alone.dimension[0])
    assert got.vendi == pytest.approx(alone.vendi)
    assert any("5 rows equal another row but not its label" in note for note in got.notes)


def test_the_sample_is_the_same_in_any_order_and_any_files(tmp_path):
    x = np.random.default_rng(0).normal(size=(600, 4))
    frame = rows(x, label=[i % 2 for i in range(600)], source=["s", "t", "u"] * 200)
    for name, parts in (("one", [frame]), ("two", [frame[::-1][:250], frame[::-1][250:]])):
        (tmp_path / name).mkdir()
        for i, part in enumerate(parts):
            part.write_parquet(tmp_path / name / f"{i}.parquet")
    one, two = (describe.describe([str(tmp_path / n)], embedding="emb.x", sample=200) for n in ("one", "two"))
    other = describe.describe([str(tmp_path / "one")], embedding="emb.x", sample=200, seed=1)
    assert one.sample == 200
    assert (one.dimension, one.sharpness, one.vendi) == (two.dimension, two.sharpness, two.vendi)
    assert one.sources.equals(two.sources)
    assert one.overlap.equals(two.overlap)
    assert one.dimension != other.dimension
    assert one.sources["rows"].to_list() == [200, 200, 200]
    assert one.sources["sample"].to_list() == [66, 66, 66]


def test_the_job_describes_texts_and_writes_what_made_it(cli, tmp_path):
    for source in ("a", "b"):
        folder = tmp_path / "data" / f"source={source}"
        folder.mkdir(parents=True)
        documents(60, 0 if source == "a" else 500).write_parquet(folder / "0.parquet")
    arguments = ("describe", tmp_path / "data", "--encoder", "hashed:width=32", "--neighbours", "5")
    said = cli(*arguments, "--json", "--out", tmp_path / "d.json")
    assert said.code == 0
    record = json.loads(said.out)
    assert record["sample"] == record["rows"] == 120
    assert record["sharpness"] is None
    assert "no label column" in said.err
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
        (np.ones((50, 3)), {}, "1 different vectors in a sample of 50 rows of 50: 20 neighbours need at least 42"),
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
    got = describe.describe([str(tmp_path / "a.parquet")], embedding="emb.x", sample=50, neighbours=5)
    assert got.sharpness is None
    assert got.overlap is None
    assert len(got.notes) == 2


def test_a_column_that_holds_no_vectors(tmp_path):
    with pytest.raises(SchemaError, match="--embedding label is no column of vectors"):
        describe.describe([str(tmp_path)], embedding="label")


@pytest.mark.parametrize("encoder", ["pixels:width=3", "precomputed:path={}/table"])
def test_encoders_read_what_they_read_when_they_score(tmp_path, encoder):
    """Images and ids, not texts: the same numbers as from the column of vectors."""
    x = np.random.default_rng(0).integers(0, 256, (60, 3))
    made = pl.Series("emb.x", (x / np.float32(255)).astype(np.float32), dtype=pl.Array(pl.Float32, 3))
    frame = documents(60).select(pl.lit("no vector").alias("text"), id=pl.Series([f"r{i}" for i in range(60)]))
    frame = frame.with_columns(made, pl.Series("image", [bytes(row) for row in x.tolist()]))
    for folder, columns in (("data", frame.columns), ("table", ["id", "emb.x"])):
        (tmp_path / folder).mkdir()
        frame.select(columns).write_parquet(tmp_path / folder / "0.parquet")
    data = [str(tmp_path / "data")]
    found = describe.describe(data, encoder=encoder.format(tmp_path))
    assert found.dimension == describe.describe(data, embedding="emb.x").dimension
