"""Why a row was kept or removed: real prunings, and every value checked against the files."""

import json
import shutil

import polars as pl
import pytest

from curate import prune, score, why
from curate.errors import SchemaError

WORDS = "red green blue white black brown yellow pink grey orange violet cyan".split()


@pytest.fixture(scope="module")
def pruned(tmp_path_factory):
    folder = tmp_path_factory.mktemp("why")
    base = " ".join(WORDS * 3)
    rows = [
        {"id": f"r{i}", "text": f"{base} {i} {WORDS[i % 12]} {i * 7}", "kind": "a" if i % 2 else "b"} for i in range(20)
    ]
    rows += [{"id": "copy", "text": rows[3]["text"], "kind": "a"}, {"id": "short", "text": "few words", "kind": "a"}]
    rows += [
        {"id": f"x{i}", "text": " ".join(f"{word}{i}{j}" for j, word in enumerate(WORDS)), "kind": "a"}
        for i in range(30)
    ]
    (folder / "data").mkdir()
    half = len(rows) // 2
    pl.DataFrame(rows[:half]).write_ndjson(folder / "data" / "one.jsonl")
    pl.DataFrame(rows[half:]).write_parquet(folder / "data" / "two.parquet")
    score(folder / "data", ("length", "duplicates", "compression"), folder / "scores")
    requirements = ("score.length > 20", "kind = 'a'", "score.duplicates >= 0.25")
    prune(
        folder / "scores",
        folder / "kept",
        require=requirements,
        by="score.length",
        keep=0.5,
        rule="top",
        max_source_removal=1,
        verify=0,
    )
    return folder


def decisions(folder):
    return pl.concat([pl.read_parquet(path) for path in sorted((folder / "kept").rglob("*.keep.parquet"))])


def test_every_row_gets_the_reason_of_its_decision(pruned):
    table = decisions(pruned)
    fates = why(pruned / "kept", table["id"].to_list())
    assert [row.reason for row in fates.rows] == table["reason"].to_list()
    assert [row.kept for row in fates.rows] == table["keep"].to_list()
    for row in fates.rows:
        failed = [met.requirement for met in row.requirements if met.met is False]
        # The reason is the first requirement that the row fails, and a ranked row meets all of them.
        assert failed[:1] == [row.reason] if row.ranked is None else not failed


def test_scores_stand_among_all_rows(pruned):
    scores = pl.concat([pl.read_parquet(path) for path in sorted((pruned / "scores").rglob("*.scores.parquet"))])
    (row,) = why(pruned / "kept", "x5").rows
    for standing in row.scores:
        values = scores[standing.column]
        own = scores.filter(pl.col("id") == "x5")[standing.column][0]
        assert standing.value == own
        assert standing.below == pytest.approx((values < own).mean())
    assert {standing.column: standing.meaning for standing in row.scores}["score.length"] == "quality"


def test_the_cut_lies_between_kept_and_dropped_rows(pruned):
    table = decisions(pruned)
    lengths = {row.id: row for row in why(pruned / "kept", table["id"].to_list()).rows}
    ranked = [row for row in lengths.values() if row.ranked is not None]
    value = {row.id: next(s.value for s in row.scores if s.column == "score.length") for row in ranked}
    kept = [value[row.id] for row in ranked if row.kept]
    dropped = [value[row.id] for row in ranked if not row.kept]
    assert ranked[0].ranked.cut.kept == (min(kept), max(kept))
    assert ranked[0].ranked.cut.dropped == (min(dropped), max(dropped))
    assert max(dropped) <= min(kept)


def test_a_row_beyond_a_cap_is_told_what_filled_it(pruned, tmp_path):
    more = {"by": "score.length", "rule": "top"}
    prune(pruned / "scores", tmp_path / "ranked", cap=["kind=2"], **more, keep_rows=3, max_source_removal=1)
    prune(pruned / "scores", tmp_path / "unranked", cap=["kind=2"])
    for folder, order in (("ranked", "by score.length"), ("unranked", "by the hash of the id")):
        table = pl.concat([pl.read_parquet(path) for path in sorted((tmp_path / folder).rglob("*.keep.parquet"))])
        for row in why(tmp_path / folder, table["id"].to_list()).rows:
            filled = f"  cap kind=2: other rows with the same value come first {order}, and fill what the cap allows"
            assert (filled in row.lines()) == (row.reason == "cap: kind=2")


def test_a_cut_among_equal_scores_says_what_decides(tmp_path):
    pl.DataFrame({"id": list("abcd"), "text": ["one", "two", "six", "four"]}).write_parquet(tmp_path / "x.parquet")
    score(tmp_path / "x.parquet", "length", tmp_path / "scores")
    for rows, ties in ((1, False), (2, True)):
        prune(
            tmp_path / "scores",
            tmp_path / f"{rows}",
            by="score.length",
            rule="top",
            keep_rows=rows,
            max_source_removal=1,
        )
        for row in why(tmp_path / f"{rows}", list("abcd")).rows:
            assert ("rows with equal scores come in the order of the hashes of their ids" in str(row.ranked)) == ties


def test_a_copy_names_the_row_that_it_equals(pruned):
    """Row 3 and its copy are of one kind, so that one of them fails only because the other is kept."""
    both = why(pruned / "kept", ["r3", "copy"]).rows
    assert {row.copies[0].id for row in both} == {"r3", "copy"}
    assert all(row.copies[0].similarity == 1 for row in both)
    reasons = {row.id: row.reason for row in both}
    assert [row.copies[0].reason for row in both] == [reasons["copy"], reasons["r3"]]
    assert "equals" in str(why(pruned / "kept", ["r3"]))


def test_a_requirement_on_the_input_shows_its_value(pruned):
    (row,) = why(pruned / "kept", "r2").rows
    of_kind = row.requirements[1]
    assert (of_kind.requirement, of_kind.met, dict(of_kind.values)) == ("kind = 'a'", False, {"kind": "b"})
    assert row.reason == "kind = 'a'"
    # Groups of duplicates are formed among the rows that meet all others, so this one has no answer.
    assert row.requirements[2].met is None


def test_a_score_folder_has_scores_without_a_fate(pruned):
    (row,) = why(pruned / "scores", "short").rows
    assert (row.kept, row.reason, row.requirements, row.ranked) == (None, "", (), None)
    assert "not decided" in str(why(pruned / "scores", "short"))


def test_the_folder_of_a_whole_run_is_understood(pruned, tmp_path):
    shutil.copytree(pruned, tmp_path / "run")
    assert (
        why(tmp_path / "run", "r3", scores=tmp_path / "run" / "scores").rows[0].reason
        == why(pruned / "kept", "r3").rows[0].reason
    )


def test_an_unknown_id_and_a_moved_folder_are_explained(pruned, tmp_path):
    with pytest.raises(SchemaError, match="no row has the id 'nobody'. The first ids of .* are"):
        why(pruned / "kept", "nobody")
    with pytest.raises(SchemaError, match="has neither decisions nor scores"):
        why(tmp_path, "r1")
    with pytest.raises(SchemaError, match="no ids"):
        why(pruned / "kept", [])
    shutil.copytree(pruned / "kept", tmp_path / "kept")
    (pruned / "scores").rename(pruned / "moved")
    try:
        with pytest.raises(SchemaError, match="is not there any more. Give --scores DIR"):
            why(tmp_path / "kept", "r1")
        assert why(tmp_path / "kept", "r1", scores=pruned / "moved").rows[0].id == "r1"
    finally:
        (pruned / "moved").rename(pruned / "scores")


def test_the_command_prints_lines_and_json(pruned, cli):
    text = cli("why", pruned / "kept", "short", "r2").out
    assert "short: removed: score.length > 20" in text
    assert "NOT met: kind = 'a' (kind = b)" in text
    record = json.loads(cli("why", pruned / "kept", "short", "--json", "--workers", 2).out)
    assert record["rows"][0]["reason"] == "score.length > 20"
    assert record["rows"][0]["kept"] is False


def test_rows_with_one_id_are_all_told(tmp_path, cli):
    frame = pl.DataFrame({"id": ["a", "b"] * 15, "text": [f"word {i}" for i in range(30)]})
    (tmp_path / "data").mkdir()
    for i in range(2):
        frame[15 * i : 15 * i + 15].write_parquet(tmp_path / "data" / f"{i}.parquet")
    score(tmp_path / "data", ["length"], tmp_path / "scores")
    prune(tmp_path / "scores", tmp_path / "kept", cap=["id=1"])
    done = cli("why", tmp_path / "kept", "a", "b")
    assert done.code == 0, done.err
    assert done.out.count("a: kept") == done.out.count("b: kept") == 1
    assert done.out.count("removed: cap: id=1") == 28
    assert "row 0 of 0.parquet, source data, 2 tokens, one of 15 rows with this id" in done.out
    score(pl.DataFrame({"id": ["x"] * 50, "text": ["t"] * 50}), ["length"], tmp_path / "same")
    rows = json.loads(cli("why", tmp_path / "same", "x", "--json").out)["rows"]
    assert [row["row"] for row in rows] == list(range(20))
    assert {row["rows_with_id"] for row in rows} == {50}


REQUIREMENTS = ("kind = 'a'", "score.length > 150", "meta.n > 2 AND score.length > 3", "score.duplicates >= 0.25")


@pytest.fixture
def of_inputs(tmp_path):
    """A pruning whose requirements read columns of two inputs, JSON lines and Parquet."""
    rows = [
        {"id": f"r{i}", "text": " ".join(WORDS * (1 + i % 3)) + f" {i}", "kind": "ab"[i % 2], "meta": {"n": i}}
        for i in range(24)
    ]
    (tmp_path / "data").mkdir()
    pl.DataFrame(rows[:12]).write_ndjson(tmp_path / "data" / "one.jsonl")
    pl.DataFrame(rows[12:]).write_parquet(tmp_path / "data" / "two.parquet")
    score(tmp_path / "data", ("length", "duplicates"), tmp_path / "scores")
    prune(tmp_path / "scores", tmp_path / "kept", require=REQUIREMENTS, verify=0)
    return tmp_path


def check_told_by_reasons(before, after):
    """All but the results that no stored file tells is as with the inputs."""
    for row, told in zip(before.rows, after.rows, strict=True):
        assert (row.id, row.reason, row.scores, row.copies) == (told.id, told.reason, told.scores, told.copies)
        for number, (with_input, without) in enumerate(zip(row.requirements, told.requirements, strict=True)):
            # Of a requirement behind the first that a row fails, no stored file tells.
            unknown = without.unread and row.reason in REQUIREMENTS[:number]
            assert without.met == (None if unknown else with_input.met)
            assert without.values == {k: v for k, v in with_input.values.items() if k not in without.unread}


def test_inputs_that_were_moved_away_are_named_and_the_rest_is_told(of_inputs, cli):
    ids = [f"r{i}" for i in range(24)]
    before = why(of_inputs / "kept", ids)
    assert before.notes == ()
    assert {row.reason for row in before.rows} == {"kept", *REQUIREMENTS}
    (of_inputs / "data" / "two.parquet").rename(of_inputs / "two")
    after = why(of_inputs / "kept", ids)
    check_told_by_reasons(before, after)
    assert after.rows[:12] == before.rows[:12]
    (note,) = after.notes
    assert note.startswith("two.parquet could not be read (it is not in its place any more), so that the stored reason")
    assert all(row.requirements[0].unread == ("kind",) for row in after.rows[12:])
    (of_inputs / "data" / "one.jsonl").rename(of_inputs / "one")
    (of_inputs / "data").rmdir()
    check_told_by_reasons(before, gone := why(of_inputs / "kept", ids))
    (note,) = gone.notes
    assert note.startswith("one.jsonl, two.parquet could not be read") and "no such file or folder" in note
    printed = cli("why", of_inputs / "kept", "r1", "r2", "--json")
    assert json.loads(printed.out)["notes"] == list(why(of_inputs / "kept", ["r1", "r2"]).notes)
    text = cli("why", of_inputs / "kept", "r1").out
    assert "NOT met: kind = 'a' (kind could not be read)" in text
    assert "not known, since the row fails another requirement: meta.n > 2" in text
    assert text.count("note: one.jsonl could not be read") == 1


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("red", "blue", "changed since they were scored"),
        ('"kind":"b"', '"kind":"a"', "changed after the rows were pruned"),
    ],
)
def test_an_input_that_changed_is_not_taken_for_the_old_one(of_inputs, before, after, told):
    path = of_inputs / "data" / "one.jsonl"
    path.write_text(path.read_text().replace(before, after))
    (row,) = (fates := why(of_inputs / "kept", "r1")).rows
    assert (row.requirements[0].met, dict(row.requirements[0].values)) == (False, {})
    assert told in fates.notes[0]
