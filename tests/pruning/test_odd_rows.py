"""Requirements and budgets over rows that real data have: NaN in structs, 0 / 0, conversations, files without rows."""

import json

import polars as pl
import pytest
from conftest import documents, one_line
from score_folders import score_folder

from curate.pruning.requirements import missing
from curate.scoring.score import score
from curate.tables import batches, sql

NAN = float("nan")


@pytest.mark.parametrize(
    ("condition", "met"),
    [
        ("a / b > 1", [None, True, True, None]),
        ("b / c > 0.4", [None, False, True, True]),
        ("SQRT(n) >= 0 OR LN(n) >= 0", [None, None, True, True]),
        ("a % b >= 0", [None, None, True, None]),
        ("a / b IS NULL", [True, False, False, True]),
        ("COALESCE(a / b, 7) > 6", [True, True, False, True]),
        ("CASE WHEN b > 0 THEN a / b ELSE 5 END > 1", [True, True, True, None]),
        ("s.q > 0", [None, True, None, None]),
        ("s.z.y > 0", [None, None, None, True]),
        ("t IN ('ä', '\0') AND a / b >= 0", [None, True, False, None]),
    ],
)
def test_what_cannot_be_computed_is_missing(condition, met):
    """Polars sorts NaN above all numbers: an empty text with 0 / 0 would meet each minimum."""
    frame = pl.DataFrame(
        {
            "a": [0.0, 1, 2.5, None],
            "b": [0, 0, 1, 3],
            "c": [0, 1, 2, 2],
            "n": [NAN, -1.0, 1.0, 4.0],
            "s": [{"q": NAN, "z": {"y": NAN}}, {"q": 1.0, "z": {"y": NAN}}, None, {"q": None, "z": {"y": 2.0}}],
            "t": ["\0", "ä", "c", "\0"],
        }
    )
    clean = missing.columns(frame)
    assert clean.schema == frame.schema
    assert missing.columns(clean) is clean
    expression = sql.row_expression(sql.WrittenSql(condition, "--require", "Change it"), frame.columns)
    assert expression.values(frame.select(expression.columns)).to_list() == met


def conversations():
    roles = ("system", "user", "assistant")
    return [
        {"id": i, "chat": [{"role": role, "content": f"words {i}"} for role in roles[: 1 + i % 3]]} for i in range(9)
    ]


@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
def test_conversations_have_their_messages_and_their_text(tmp_path, cli, kind):
    (tmp_path / "data").mkdir()
    frame = pl.DataFrame(conversations())
    path = tmp_path / "data" / f"a.{kind}"
    frame.write_parquet(path) if kind == "parquet" else frame.write_ndjson(path)
    words = ("--columns", "text=chat", "--render", "chat", "--out", tmp_path / "scores")
    assert cli("score", tmp_path / "data", "--scorer", "length", *words).code == 0
    conditions = ("--require", "ARRAY_LENGTH(chat) >= 2", "--require", "text LIKE '%assistant:%'")
    done = cli("prune", tmp_path / "scores", *conditions, "--out", tmp_path / "kept")
    assert done.code == 0, done.err
    decided = pl.read_parquet(tmp_path / "kept" / f"a.{kind}.keep.parquet")
    expected = {1: conditions[1], 2: conditions[3], 3: "kept"}
    assert decided["reason"].to_list() == [expected[1 + i % 3] for i in range(9)]
    done = cli("why", tmp_path / "kept", 0)
    assert "chat = [{'role': 'system', 'content': 'words 0'}]" in done.out
    row = json.loads(cli("why", tmp_path / "kept", 1, "--json").out)["rows"][0]
    assert [len(row["requirements"][0]["values"]["chat"]), row["requirements"][1]["met"]] == [2, False]


def test_messages_of_several_types_are_read_as_text(tmp_path, cli):
    rows = [{"chat": [{"role": "user", "content": ["a", [{"type": "text", "text": "a"}]][i % 2]}]} for i in range(4)]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    words = ("--columns", "text=chat", "--render", "chat", "--out", tmp_path / "scores")
    assert cli("score", tmp_path / "a.jsonl", "--scorer", "length", *words).code == 0
    prune = ("prune", tmp_path / "scores", "--out", tmp_path / "kept")
    assert cli(*prune, "--require", "text = 'user: a'").code == 0
    line = one_line(cli(*prune, "--require", "chat IS NOT NULL"))
    assert "write the condition about text, which is the rendered conversation" in line


def test_why_reads_nan_as_prune_does(tmp_path, cli):
    values = pl.Series("q", [NAN, 0.5, None, 2.0])
    (tmp_path / "data").mkdir()
    documents(4).with_columns(values, when=pl.date(2024, 1, 2)).write_parquet(tmp_path / "data" / "a.parquet")
    score(tmp_path / "data", ["length"], tmp_path / "scores")
    conditions = ("--require", "q > 0.1", "--require", "\"when\" > DATE '2020-01-01'")
    assert cli("prune", tmp_path / "scores", *conditions, "--out", tmp_path / "kept").code == 0
    done = cli("why", tmp_path / "kept", "d0", "d1", "--json")
    assert done.code == 0, done.err
    first, second = json.loads(done.out)["rows"]
    assert [first["reason"], first["requirements"][0]["met"]] == ["q > 0.1", False]
    assert [second["reason"], second["requirements"][0]["met"]] == ["kept", True]
    assert second["requirements"][1]["values"] == {"when": "2024-01-02"}


def test_score_files_without_rows_are_one_line(tmp_path, cli):
    frame = pl.DataFrame(schema={"id": pl.String, "source": pl.String, "tokens": pl.Int64, "score.x": pl.Float64})
    scores = score_folder(tmp_path / "scores", frame, cuts=(0,))
    for options in (("--require", "score.x > 1"), ("--cap", "source=1"), ("--by", "tokens", "--keep-rows", 1)):
        assert "have no rows. Score data that has rows" in one_line(
            cli("prune", scores, *options, "--out", tmp_path / "k")
        )


@pytest.fixture
def scores(tmp_path):
    columns = {"id": [f"r{i}" for i in range(40)], "source": ["web", "book"] * 20, "tokens": [5] * 40}
    return score_folder(tmp_path / "scores", pl.DataFrame(columns | {"score.length": [float(i) for i in range(40)]}))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ("--keep-rows", 31),
            "asks for 31 rows, and --require leaves 30. Either lower --keep-rows or weaken a --require",
        ),
        (
            ("--keep-rows", 9, "--cap", "source=2"),
            "and --require and --cap leave 4. Either lower --keep-rows or weaken",
        ),
        (("--keep-tokens", 151), "asks for 151 tokens, and --require leaves 150. Either lower --keep-tokens or weaken"),
        (("--by", "score.lenght", "--keep", 0.5), "Did you mean score.length?"),
        (("--require", 'source = "web"'), "names 'web', which is no column. Write a text in single quotes: 'web'."),
    ],
)
def test_a_message_names_what_left_too_little_or_is_misspelled(scores, tmp_path, cli, options, message):
    words = ("--require", "score.length >= 10", "--out", tmp_path / "kept", *options)
    assert message in one_line(cli("prune", scores, *words))


@pytest.mark.parametrize("options", [("--cap", "source=3tokens"), ("--keep", 0.001), ("--keep-tokens", 4)])
def test_a_dry_run_that_keeps_nothing_says_so(scores, tmp_path, cli, options):
    done = cli("prune", scores, *options, "--dry-run", "--out", tmp_path / "kept")
    assert done.code == 0
    assert "warning: nothing is kept" in done.err


def test_numbers_in_texts_need_a_cast(tmp_path, cli):
    (tmp_path / "a.csv").write_text("id,text,q\n1,a b c,5\n2,d e f,\n3,g,x\n4,z z,1.5\n")
    score(tmp_path / "a.csv", ["length"], tmp_path / "scores")
    prune = ("prune", tmp_path / "scores", "--out", tmp_path / "kept", "--require")
    for condition in ("q > 1", "id > 1"):
        assert "Write TRY_CAST(NAME AS DOUBLE) > 5" in one_line(cli(*prune, condition))
    assert "TRY_CAST in the place of CAST gives null" in one_line(cli(*prune, "CAST(q AS DOUBLE) > 1"))
    assert cli(*prune, "TRY_CAST(q AS DOUBLE) > 1").code == 0
    assert pl.read_parquet(tmp_path / "kept" / "a.csv.keep.parquet")["keep"].to_list() == [True, False, False, True]


def test_why_says_that_groups_were_formed_again(tmp_path, cli):
    (tmp_path / "data").mkdir()
    frame = pl.concat([documents(3)] * 2).with_columns(id=pl.Series(list("abcdef")), q=pl.Series([0, 0, 0, 1, 1, 1]))
    frame.write_parquet(tmp_path / "data" / "a.parquet")
    score(tmp_path / "data", ["duplicates"], tmp_path / "scores")
    stored = pl.read_parquet(tmp_path / "scores" / "a.parquet.scores.parquet")
    conditions = ("--require", "q = 1", "--require", "score.duplicates >= 0.25")
    assert cli("prune", tmp_path / "scores", *conditions, "--out", tmp_path / "kept").code == 0
    copy = stored.filter(pl.col("id").is_in(list("def")) & (pl.col("score.duplicates") == 0))["id"]
    for name in copy:
        done = cli("why", tmp_path / "kept", name)
        assert f"{name}: kept" in done.out
        assert "met: score.duplicates >= 0.25 (score.duplicates = 0 before groups were formed again" in done.out
    assert len(copy)


def test_a_column_that_may_have_changed_is_a_warning(tmp_path, cli):
    path = tmp_path / "data" / "a.parquet"
    path.parent.mkdir()
    frame = documents(9).with_columns(q=pl.int_range(9))
    frame.write_parquet(path)
    score(path, ["length"], tmp_path / "scores")
    prune = ("prune", tmp_path / "scores", "--out", tmp_path / "kept")
    assert "warning" not in cli(*prune, "--require", "q > 1").err
    frame.with_columns(q=pl.lit(7)).write_parquet(path)
    done = cli(*prune, "--require", "q > 1", "--require", "text <> ''")
    assert done.code == 0
    assert f"{path} was written again after scoring" in done.err
    assert "These columns of --require may have changed: q\n" in done.err
    for condition in ("text <> ''", "score.length > 1"):
        assert "warning" not in cli(*prune, "--require", condition).err
    frame.with_columns(text=pl.lit("other")).write_parquet(path)
    assert "changed since they were scored" in one_line(cli(*prune, "--require", "q > 1"))


def test_nan_is_no_value_and_zero_is_one(tmp_path, cli):
    levels = [NAN, NAN, None, 0.0, -0.0, 0.5, 0.5]
    frame = pl.DataFrame({"id": list("abcdefg"), "source": ["a"] * 7, "tokens": [1] * 7, "level": levels})
    done = cli("prune", score_folder(tmp_path / "s", frame, ()), "--cap", "level=1", "--out", tmp_path / "kept")
    assert done.code == 0, done.err
    kept = frame.filter(pl.read_parquet(tmp_path / "kept" / "a.parquet.keep.parquet")["keep"])["level"]
    assert (kept.fill_nan(None).null_count(), sorted(kept.fill_nan(None).drop_nulls().abs())) == (3, [0.0, 0.5])


def test_integers_and_floats_of_two_files_are_one_value(tmp_path, cli):
    """Pandas writes whole numbers as floats where some are missing."""
    frame = pl.DataFrame({"id": list("abcd"), "source": ["a"] * 4, "tokens": [1] * 4, "level": [1, 2, 2, 3]})
    scores = score_folder(tmp_path / "scores", frame, ())
    floats = frame.with_columns(pl.col("level").cast(pl.Float64), id=pl.col("id") + "2")
    batches.write(scores / "b.parquet.scores.parquet", [floats])
    assert cli("prune", scores, "--cap", "level=1", "--out", tmp_path / "kept").code == 0
    files = [tmp_path / "kept" / f"{name}.parquet.keep.parquet" for name in "ab"]
    assert sum(pl.read_parquet(file)["keep"].sum() for file in files) == 3


def test_each_row_without_a_value_is_a_value_of_its_own(tmp_path, cli):
    """Its id may be a value of the column, and another file may have a row with the same id."""
    ids, labels = ["0", "1", "2", "3"] * 2, [None, "0", "0", "1"] * 2
    frame = pl.DataFrame({"id": ids, "source": ["a"] * 8, "tokens": [1] * 8, "label": labels})
    scores = score_folder(tmp_path / "scores", frame, cuts=(4,))
    for cap in ("label=1", "label=1tokens"):
        done = cli("prune", scores, "--cap", cap, "--out", tmp_path / "kept")
        assert done.code == 0, done.err
        decided = pl.concat([pl.read_parquet(tmp_path / "kept" / f"{name}.parquet.keep.parquet") for name in "ab"])
        kept = frame.with_columns(decided["keep"]).filter("keep")
        assert dict(kept.group_by("label").len().iter_rows()) == {None: 2, "0": 1, "1": 1}
