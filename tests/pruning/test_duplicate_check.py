"""The second comparison of removed duplicates agrees with the scorer on every kind of text; all by the command line."""

import json

import pytest

LONG = " ".join(f"w{i}" for i in range(60))
EQUAL = [
    "",
    " ",
    "-----",
    "\n\n",
    "?!",
    "\u3000\u3000",
    "\u200b",
    "\U0001f600\U0001f600",
    "x",
    "two words",
    "UPPER lower",
    "Straße İstanbul ΣΊΣΥΦΟΣ",
    "สวัสดีครับผมชื่อสมชายและผมชอบกินข้าวผัด",
    "今天天气很好，我们一起去公园散步吧。",
    "ភាសាខ្មែរជាភាសាផ្លូវការ",
    "the same line twice\nthe same line twice\nthe same line twice",
    LONG,
]
# At most one 5-gram in ten differs, so all of these are near copies of each other.
NEAR = [(LONG, LONG + " more"), (LONG, LONG.upper() + "!"), (LONG.replace("w0", "v0"), LONG.replace("w0", "u0"))]


def rows():
    texts = [text for text in EQUAL for _ in range(3)] + [text for pair in NEAR for text in pair]
    return [{"id": f"r{i}", "body": text} for i, text in enumerate(texts)]


def write(folder, lines):
    """Two files, so that copies lie in different ones."""
    folder.mkdir()
    for name, part in (("a", lines[::2]), ("b", lines[1::2])):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part), encoding="utf-8")
    return folder


def pruned(cli, tmp_path, lines, *options):
    data, scores = write(tmp_path / "data", lines), tmp_path / "scores"
    spec = ",".join(("duplicates:seed=0", *options))
    done = cli("score", data, "--text-column", "body", "--scorer", spec, "--out", scores)
    assert done.code == 0, done.err
    arguments = ("--by", "score.duplicates", "--rule", "threshold", "--keep", 0.5, "--max-source-removal", 1)
    done = cli("prune", scores, *arguments, "--verify", 1000, "--json", "--out", tmp_path / "kept")
    assert done.code == 0, done.err
    return json.loads(done.out), done.err


@pytest.mark.parametrize("options", [(), ("ngram=1",), ("ngram=3", "threshold=0.6"), ("ngram=40",), ("bands=0",)])
def test_no_removal_is_called_false(tmp_path, cli, options):
    record, err = pruned(cli, tmp_path, rows(), *options)
    assert len(record["verified"]) == record["total"]["rows"] - record["total"]["kept"] >= 2 * len(EQUAL)
    for row in record["verified"]:
        assert row["similarity"] >= row["claimed"] - 1e-9, row
    assert not [line for line in record["warnings"] if "compared again" in line]
    assert "compared again" not in err


def test_missing_texts_raise_no_false_alarm(tmp_path, cli):
    lines = [*rows(), {"id": "n0", "body": None}, {"id": "n1", "body": None}, {"id": "n2", "body": ""}]
    record, err = pruned(cli, tmp_path, lines)
    assert all(row["similarity"] >= row["claimed"] for row in record["verified"])
    assert "compared again" not in err


def test_only_texts_without_words(tmp_path, cli):
    record, err = pruned(cli, tmp_path, [{"id": f"r{i}", "body": "----"} for i in range(5)])
    assert [row["similarity"] for row in record["verified"]] == [1, 1, 1, 1]
    assert [row["kept_similarity"] for row in record["verified"]] == [1, 1, 1, 1]
    assert "compared again" not in err


def test_texts_without_words_that_differ_are_no_copies(tmp_path, cli):
    """The score file is changed to claim that two lines of dashes are copies of one with another length."""
    import polars as pl

    pruned(cli, tmp_path, [{"id": "r0", "body": "-"}, {"id": "r1", "body": "--"}, {"id": "r2", "body": "---"}])
    for path in (tmp_path / "scores").glob("*.parquet"):
        frame = pl.read_parquet(path)
        claim = pl.when(pl.col("id") == "r0").then(1.0).otherwise(0.0).alias("score.duplicates")
        frame.with_columns(claim).write_parquet(path)
    arguments = ("--by", "score.duplicates", "--rule", "threshold", "--keep", 0.5, "--max-source-removal", 1)
    done = cli("prune", tmp_path / "scores", *arguments, "--out", tmp_path / "kept")
    assert "2 of the 2 removed rows that were compared again have no other text that is as similar" in done.err
    assert "--scorer duplicates" in done.err
