"""A score says what high means, its file records it, and rules keep the end that they name, on the command line."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
from conftest import documents, one_line
from hypothesis import given, settings
from hypothesis import strategies as st
from score_folders import JOB

from curate.pruning import prune
from curate.scoring import parts, score
from curate.tables import batches


def write_scores(folder: Path, columns: dict[str, object], fields: dict[str, object] | None = None) -> Path:
    """A score folder of one file with these columns, and these JSON fields in its metadata."""
    (folder / "_curate").mkdir(parents=True)
    (folder / "_curate" / "score.json").write_text(json.dumps(JOB))
    n = len(next(iter(columns.values())))
    frame = pl.DataFrame({"id": [f"r{i}" for i in range(n)], "source": ["a"] * n, "tokens": range(1, n + 1), **columns})
    path = folder / "0.parquet.scores.parquet"
    batches.write(path, [frame.with_columns(pl.col("tokens").cast(pl.Int64))], fields=fields)
    return folder


def kept(folder: Path) -> set[str]:
    frame = pl.concat([pl.read_parquet(p) for p in sorted(folder.rglob("*.keep.parquet"))])
    return set(frame.filter("keep")["id"])


def rising(folder: Path, meaning: str | None, extra: dict[str, object] | None = None) -> Path:
    """Ten rows r0 to r9 whose score.x rises; the file records the meaning, or nothing."""
    columns = {"score.x": np.arange(10.0), **(extra or {})}
    return write_scores(folder, columns, {"meanings": {"score.x": meaning}} if meaning else None)


LOW, HIGH = {"r0", "r1", "r2"}, {"r7", "r8", "r9"}


@pytest.mark.parametrize(
    ("meaning", "rule", "end"),
    [
        ("quality", "", HIGH),
        ("quality", "top", HIGH),
        ("hardness", "hard", HIGH),
        ("hardness", "easy", LOW),
        ("easiness", "hard", LOW),
        ("easiness", "easy", HIGH),
    ],
)
@pytest.mark.parametrize("how", ["recorded", "x", "score.x"])
def test_the_end_that_a_rule_keeps(tmp_path, cli, meaning, rule, end, how):
    """Recorded in the file, or said on the command line, where it also comes before what the file records."""
    scores = rising(tmp_path / "s", meaning if how == "recorded" else None if how == "x" else "quality")
    words = [*(["--rule", rule] if rule else []), *([] if how == "recorded" else ["--meaning", f"{how}={meaning}"])]
    done = cli("prune", scores, "--by", "score.x", "--keep", 0.3, *words, "--out", tmp_path / "k", "--json")
    assert done.code == 0, done.err
    assert kept(tmp_path / "k") == end
    record, pools = json.loads(done.out), json.loads((tmp_path / "k" / "pools.json").read_text())
    assert record["meaning"] == pools["made_by"]["arguments"]["meaning"] == meaning
    side = "highest" if end == HIGH else "lowest"
    assert record["sentence"].startswith(f"{rule or 'top'} keeps the {side} values of score.x, a")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (
            ("--rule", "hard", "--trim", 0.2),
            "hard keeps the lowest values of SCORE; the hardest 20 %, the lowest values, are dropped first",
        ),
        (("--rule", "sample"), "sample favours high values of SCORE, at temperature 2 standard deviations"),
        (("--rule", "sample", "--temperature", "raw:-3"), "sample favours low values of SCORE, at temperature -3"),
        (("--rule", "threshold"), "threshold keeps values of at least 0.5 of SCORE"),
        (("--rule", "middle"), "middle keeps the values nearest the median of SCORE"),
    ],
)
def test_the_first_line_says_what_is_kept(tmp_path, cli, words, expected):
    scores = rising(tmp_path / "s", "easiness")
    done = cli("prune", scores, "--by", "score.x", "--keep", 0.5, *words, "--out", tmp_path / "k")
    assert done.out.splitlines()[0] == expected.replace("SCORE", "score.x, an easiness score (high is easier)")


def test_sample_favours_high_scores_whatever_they_mean(tmp_path):
    draws = []
    for meaning in ("quality", "hardness", "easiness", None):
        fields = {"meanings": {"score.x": meaning}} if meaning else None
        scores = write_scores(tmp_path / str(meaning), {"score.x": np.arange(200.0)}, fields)
        options = {"by": "score.x", "keep": 0.25, "rule": "sample", "temperature": 0.5, "seed": 1}
        draws.append(kept(prune.prune(scores, tmp_path / str(meaning) / "k", **options).out))
    assert draws[0] == draws[1] == draws[2] == draws[3]
    assert np.mean([int(name[1:]) for name in draws[0]]) > 130


REFUSED = [
    ("quality", "hard", (), "--rule hard needs a hardness or easiness score, and score.x is a quality score (high is "
     "better). Use --rule top; or give --meaning x=hardness if high is harder, x=easiness if high is easier"),
    ("quality", "easy", (), "--rule easy needs a hardness or easiness score"),
    ("quality", "auto", ("--dimension", 2), "--rule auto needs a hardness or easiness score"),
    ("easiness", "top", (), "--rule top needs a quality score, and score.x is an easiness score (high is easier). "
     "Use --rule hard, easy or auto; or give --meaning x=quality if high is better"),
    ("hardness", "top", (), "a hardness score (high is harder)"),
    ("quality", "stratified", ("--trim", 0.1), "--trim needs a hardness or easiness score, and score.x is a "
     "quality score"),
    ("quality", "top", ("--trim", 0.1), "--trim is for the rules hard, easy, auto, stratified and sample, not for "
     "'top'"),
    (None, "stratified", ("--trim", 0.1), "--trim needs a hardness or easiness score, and the score files do not "
     "record what a high score.x means. Give --meaning x=MEANING, where MEANING is quality (high is better), hardness "
     "(high is harder)"),
    (None, "hard", (), "--rule hard needs a hardness or easiness score, and the score files do not record"),
    (None, "top", (), "The rules middle, threshold, stratified and sample need no meaning (--trim does)"),
    (None, "", (), "the score files do not record what a high score.x means. Give --meaning x=MEANING, where "
     "MEANING is quality"),
    ("quality", "", ("--meaning", "y=quality"), "--meaning y: "),
    ("quality", "", ("--meaning", "x=good"), "--meaning x=good: 'good' is not a meaning of a score"),
    ("hardness", "", (), "score.x is a hardness score (high is harder), and it has no default rule. Give --rule hard "
     "or easy. To choose between them, --rule auto needs the intrinsic dimension of the data"),
    ("easiness", "", ("--dimension", 1), "score.x is an easiness score (high is easier), and it has no default rule. "
     "auto advises hard: 10 rows / 1 dimensions = 10 rows per dimension, above "),
    ("easiness", "", ("--dimension", 5), "auto advises easy: 10 rows / 5 dimensions = 2 rows per dimension"),
]  # fmt: skip


@pytest.mark.parametrize(("meaning", "rule", "words", "message"), REFUSED)
def test_what_does_not_suit_the_meaning_is_one_line(tmp_path, cli, meaning, rule, words, message):
    scores = rising(tmp_path / "s", meaning)
    words = [*(["--rule", rule] if rule else []), *words]
    line = one_line(cli("prune", scores, "--by", "score.x", "--keep", 0.3, *words, "--out", tmp_path / "k"))
    assert message in line
    assert not (tmp_path / "k").exists()


@pytest.mark.parametrize("rule", ["middle", "stratified", "threshold", "sample"])
@pytest.mark.parametrize("meaning", ["quality", "hardness", None])
def test_these_rules_need_no_meaning(tmp_path, cli, meaning, rule):
    scores = rising(tmp_path / "s", meaning)
    words = ("prune", scores, "--by", "score.x", "--rule", rule, "--max-source-removal", 1, "--out", tmp_path / "k")
    assert cli(*words, "--keep", 0.5).code == 0


@pytest.mark.parametrize("by", ["tokens", "score.x"])
def test_tokens_rank_from_high(tmp_path, cli, by):
    scores = rising(tmp_path / "s", "quality")
    assert cli("prune", scores, "--by", by, "--keep", 0.3, "--out", tmp_path / "k").code == 0
    assert kept(tmp_path / "k") == HIGH
    assert cli("pools", scores, "--by", by, "--bins", 2, "--out", tmp_path / "pools.json").code == 0
    assert [pool["examples"] for pool in json.loads((tmp_path / "pools.json").read_text())["pools"]] == [5, 5]


def test_a_column_of_the_users_own_needs_a_meaning(tmp_path, cli):
    scores = rising(tmp_path / "s", "quality", {"stars": np.arange(10)[::-1]})
    words = ("prune", scores, "--by", "stars", "--keep", 0.3, "--out", tmp_path / "k")
    assert "Give --meaning stars=MEANING, where MEANING is" in one_line(cli(*words))
    assert cli(*words, "--meaning", "stars=quality").code == 0
    assert kept(tmp_path / "k") == LOW


def test_a_meaning_counts_where_all_files_record_it(tmp_path, cli):
    scores = rising(tmp_path / "s", "quality")
    frame = pl.read_parquet(scores / "0.parquet.scores.parquet")
    frame.write_parquet(scores / "1.parquet.scores.parquet")
    line = one_line(cli("prune", scores, "--by", "score.x", "--keep", 0.3, "--out", tmp_path / "k"))
    assert "1.parquet.scores.parquet, do not record what a high score.x means" in line


def test_the_flag_hard_end_is_gone(tmp_path, cli):
    scores = rising(tmp_path / "s", "hardness")
    words = ("--by", "score.x", "--keep", 0.3, "--rule", "auto", "--hard-end", "low", "--out", tmp_path / "k")
    done = cli("prune", scores, *words)
    assert done.code == 2
    assert len(done.err.splitlines()) == 1
    assert "--hard-end" in done.err
    assert "--meaning NAME=hardness" in done.err
    assert "--hard-end" not in cli("prune", "--help").out
    with pytest.raises(TypeError, match="hard_end"):
        prune.prune(scores, tmp_path / "k", by="score.x", keep=0.3, hard_end="low")


@settings(max_examples=25)
@given(
    values=st.lists(st.one_of(st.integers(-3, 3), st.floats(-1e300, 1e300)), min_size=2, max_size=40),
    keep=st.floats(0.05, 0.8),
    rule=st.sampled_from(["hard", "easy"]),
    trim=st.sampled_from([0, 0.2]),
    balance=st.sampled_from(["none", "label:even", "label:0.5"]),
    data=st.data(),
)
def test_a_hardness_and_its_negative_as_easiness_keep_the_same_rows(
    tmp_path_factory, values, keep, rule, trim, balance, data
):
    labels = data.draw(st.lists(st.sampled_from("ab"), min_size=len(values), max_size=len(values)))
    decisions = []
    for sign, meaning in ((1, "hardness"), (-1, "easiness")):
        columns = {"score.x": sign * np.array(values, dtype=float), "label": labels}
        folder = tmp_path_factory.mktemp("scores")
        scores = write_scores(folder / "s", columns, {"meanings": {"score.x": meaning}})
        options = {"by": "score.x", "keep": keep, "rule": rule, "trim": trim, "balance": balance}
        prune.prune(scores, folder / "k", max_source_removal=1, **options)
        decisions.append(pl.read_parquet(folder / "k" / "0.parquet.keep.parquet"))
    assert decisions[0].equals(decisions[1])


@pytest.mark.parametrize("dimension", [1, 30])
def test_auto_of_an_easiness_from_text_to_pools(corpus, tmp_path, cli, dimension):
    """A real easiness: with many rows for each dimension the least predictable texts stay, with few the most."""
    assert cli("score", corpus, "--scorer", "perplexity", "--out", tmp_path / "s").code == 0
    words = ("prune", tmp_path / "s", "--by", "score.perplexity", "--keep", 0.3, "--max-source-removal", 1)
    advice = one_line(cli(*words, "--dimension", dimension, "--out", tmp_path / "k"))
    choice = "hard" if dimension == 1 else "easy"
    assert f"auto advises {choice}: 100 rows / {dimension} dimensions" in advice
    done = cli(*words, "--rule", "auto", "--dimension", dimension, "--out", tmp_path / "k", "--json")
    assert json.loads(done.out)["auto"]["choice"] == json.loads(done.out)["rule"] == choice
    frame = pl.concat([pl.read_parquet(p) for p in sorted((tmp_path / "s").rglob("*.scores.parquet"))])
    lowest = frame.sort("score.perplexity").head(30)["id"]
    highest = frame.sort("score.perplexity").tail(30)["id"]
    assert kept(tmp_path / "k") == set(lowest if choice == "hard" else highest)
    assert cli(*words, "--rule", choice, "--out", tmp_path / "again").code == 0
    assert kept(tmp_path / "again") == kept(tmp_path / "k")


def gumbel(ids: pl.Series, seed: int) -> np.ndarray:
    """The noise of each row, from the 53 highest bits of the hash of its id."""
    uniform = ((batches.keys(ids, seed) >> np.uint64(11)).astype(float) + 0.5) / 2.0**53
    return -np.log(-np.log(uniform))


@pytest.mark.parametrize("options", ["", ",normalise=true"])
def test_a_draw_by_dsir_is_the_papers_resampling(corpus, tmp_path, cli, options):
    """Gumbel top-k of the log weight at T = 1 (Xie et al. 2023); a mean over the text is no log weight."""
    documents(12, 900).write_parquet(tmp_path / "target.parquet")
    scorer = f"dsir:target={tmp_path / 'target.parquet'}{options}"
    assert cli("score", corpus, "--scorer", scorer, "--out", tmp_path / "s").code == 0
    words = ("prune", tmp_path / "s", "--by", "score.dsir", "--keep", 0.3, "--max-source-removal", 1, "--seed", 4)
    assert cli(*words, "--rule", "sample", "--out", tmp_path / "k").code == 0
    frame = pl.concat([pl.read_parquet(p) for p in sorted((tmp_path / "s").rglob("*.scores.parquet"))])
    weight = frame["score.dsir"].to_numpy()
    log_weight = (weight - weight.mean()) / weight.std() / 2 if options else weight
    order = np.argsort(-(log_weight + gumbel(frame["id"], 4)))
    assert kept(tmp_path / "k") == set(frame["id"][order[:30].tolist()])
    # Its default rule keeps the highest, as that of any quality score.
    assert cli(*words, "--out", tmp_path / "top").code == 0
    assert kept(tmp_path / "top") == set(frame["id"][np.argsort(-weight)[:30].tolist()])


def metadata(folder: Path) -> list[dict[str, object]]:
    paths = sorted(p for p in folder.rglob("*.scores.parquet"))
    return [json.loads(pq.read_metadata(path).metadata[b"curate"]) for path in paths]


def test_score_files_record_meanings_whole_and_in_parts(corpus, tmp_path, monkeypatch):
    expected = {"format": 1, "meanings": {"score.length": "quality", "score.perplexity": "easiness"}}
    score.score([str(corpus)], ("length", "perplexity"), tmp_path / "whole")
    monkeypatch.setattr(parts, "PART_ROWS", 7)
    score.score([str(corpus)], ("length", "perplexity"), tmp_path / "parts", batch_rows=5)
    assert metadata(tmp_path / "whole") == metadata(tmp_path / "parts") == [expected] * 5


OWN = """
from dataclasses import dataclass
import polars as pl

@dataclass(frozen=True)
class Words:
    needs = ("text",)
    schema = {"score.words": pl.Float64()}
    MEANINGS

    def __call__(self, batch):
        return batch.select(pl.col("text").str.count_matches(" ").cast(pl.Float64).alias("score.words"))
"""


def test_a_scorer_of_the_users_own_may_leave_its_meaning_out(corpus, tmp_path, cli):
    (tmp_path / "own.py").write_text(OWN.replace("MEANINGS", ""))
    done = cli("score", corpus, "--scorer", f"{tmp_path}/own.py:Words", "--out", tmp_path / "s")
    assert done.code == 0
    assert "warning: score.words: its scorer does not declare what a high score means" in done.err
    assert 'Add meanings = {"score.words": "quality"}' in done.err
    words = ("prune", tmp_path / "s", "--by", "score.words", "--keep", 0.3, "--out", tmp_path / "k")
    assert "--meaning words=MEANING" in one_line(cli(*words))
    assert cli(*words, "--meaning", "words=quality").code == 0


def test_a_scorer_of_the_users_own_declares_its_meaning(corpus, tmp_path, cli):
    (tmp_path / "own.py").write_text(OWN.replace("MEANINGS", 'meanings = {"score.words": "hardness"}'))
    scorer = f"{tmp_path}/own.py:Words"
    assert "score.words is a hardness score (high is harder)" in cli("list", "scorers", scorer).out
    done = cli("score", corpus, "--scorer", scorer, "--out", tmp_path / "s")
    assert (done.code, "warning" in done.err) == (0, False)
    assert metadata(tmp_path / "s")[0]["meanings"] == {"score.words": "hardness"}


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        ('"score.words": "good"', "meanings['score.words']: 'good' is not a meaning of a score. Choose quality (high"),
        ('"score.words"', "Words.meanings is {'score.words'}. Make it a dictionary, such as {'score.x': 'quality'}"),
        ('"words": "quality"', "Words.meanings['words']: the scorer adds score.words. Name one of them"),
    ],
)
def test_a_wrong_declaration_stops_the_job_before_it_starts(corpus, tmp_path, cli, declared, message):
    (tmp_path / "own.py").write_text(OWN.replace("MEANINGS", f"meanings = {{{declared}}}"))
    assert message in one_line(cli("score", corpus, "--scorer", f"{tmp_path}/own.py:Words", "--out", tmp_path / "s"))
    assert not (tmp_path / "s").exists()


def test_the_list_of_scorers_shows_what_they_mean(cli):
    lines = {line.split()[0]: line for line in cli("list", "scorers").out.splitlines()}
    assert lines["name"].split()[:2] == ["name", "meaning"]
    assert "easiness, hardness" in lines["cartography"]
    assert json.loads(cli("list", "scorers", "--json").out)["meanings"]["aum"] == {"score.aum": "easiness"}
    assert "score.aum is an easiness score (high is easier)" in cli("list", "scorers", "aum").out


def test_the_report_says_what_scores_mean(corpus, tmp_path, cli):
    assert cli("score", corpus, "--scorer", "length", "--scorer", "perplexity", "--out", tmp_path / "scores").code == 0
    assert cli("report", tmp_path, "--out", tmp_path / "report.html").code == 0
    page = (tmp_path / "report.html").read_text()
    for words in (
        "score.length is a quality score (high is better). score.perplexity is an easiness score (high is easier).",
        "lowest score.length (worst) =",
        "lowest score.perplexity (hardest) =",
        "highest score.perplexity (easiest) =",
    ):
        assert words in page


@pytest.mark.parametrize(
    ("second", "words"),
    [
        (
            None,
            ["1 of the 2 score files, such as ", "1.parquet.scores.parquet, do not record what a high score.x means"],
        ),
        ("hardness", ["the score files do not agree", "0.parquet.scores.parquet says easiness", "says hardness"]),
    ],
)
def test_the_file_without_a_meaning_or_with_another_is_named(tmp_path, cli, second, words):
    scores = rising(tmp_path / "s", "easiness")
    other = rising(tmp_path / "other", second)
    (other / "0.parquet.scores.parquet").rename(scores / "1.parquet.scores.parquet")
    for rule in ([], ["--rule", "hard"], ["--rule", "top"], ["--rule", "stratified", "--trim", 0.1]):
        done = cli("prune", scores, "--by", "score.x", "--keep", 0.3, *rule, "--out", tmp_path / "k")
        line = one_line(done)
        assert all(word in line for word in [*words, "--meaning x=MEANING"]), line


def test_a_score_without_its_prefix_gets_a_hint(tmp_path, cli):
    line = one_line(
        cli("prune", rising(tmp_path / "s", "quality"), "--by", "x", "--keep", 0.3, "--out", tmp_path / "k")
    )
    assert line.endswith("Did you mean score.x?")
