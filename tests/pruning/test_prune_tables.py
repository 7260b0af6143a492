"""`curate.prune` without an output folder: decisions as a frame, equal to those that the command writes."""

import tempfile

import polars as pl
import pytest
from conftest import documents

import curate
from curate.errors import SchemaError

ROWS = documents(120).with_columns(
    source=pl.Series(["ab"[i % 2] for i in range(120)]),
    tokens=pl.Series([30 + i % 17 for i in range(120)]),
    conversation=pl.Series([i // 5 for i in range(120)]),
)
MEANING = {"length": "quality", "compression": "hardness"}
CALLS = [
    {"require": ["score.length > 100", "conversation < 20"]},
    {"by": "score.length", "keep": 0.4, "meaning": MEANING},
    {"by": "score.compression", "keep_rows": 30, "rule": "hard", "trim": 0.1, "meaning": MEANING},
    {"by": "score.compression", "keep": 0.5, "rule": "stratified", "meaning": MEANING},
    {"require": ["conversation >= 2"], "by": "tokens", "keep": 0.2, "cap": ["conversation=2"]},
    {"cap": ["conversation=1"], "max_source_removal": 1},
]


@pytest.fixture(autouse=True)
def scratch(tmp_path, monkeypatch):
    """The system's temporary folder, which must be empty at the end."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    assert list(folder.iterdir()) == []


@pytest.fixture
def written(tmp_path):
    """The folder of scores."""
    return curate.score(ROWS, ["length", "compression"], tmp_path / "scores", carry="conversation").out


def frame_of(written) -> pl.DataFrame:
    return pl.read_parquet(next(written.rglob("rows.parquet.scores.parquet")))


@pytest.mark.parametrize("options", CALLS)
@pytest.mark.parametrize("kind", ["polars", "pandas", "pyarrow", "folder"])
def test_a_table_gets_the_decisions_that_a_folder_gets(tmp_path, written, kind, options):
    frame = frame_of(written)
    if kind == "pandas":
        pytest.importorskip("pandas")
    tables = {"polars": lambda: frame, "pandas": frame.to_pandas, "pyarrow": frame.to_arrow, "folder": lambda: written}
    table = tables[kind]()
    expected = curate.prune(written, tmp_path / "kept", **options)
    result = curate.prune(table, **options)
    stored = pl.concat([pl.read_parquet(path) for path in sorted((tmp_path / "kept").rglob("*.keep.parquet"))])
    assert result.decisions().equals(stored)
    assert expected.decisions().equals(stored)
    assert result.table().equals(expected.table())
    assert result.removal.by_reason.equals(pl.read_parquet(tmp_path / "kept/removal.parquet"))
    assert result.summary == expected.summary
    assert result.sentence == expected.sentence
    assert (result.out, result.pools) == (None, None)
    assert result.warnings == expected.warnings
    assert repr(result).startswith("Pruned by ")
    assert result.chart().to_dict() == expected.chart().to_dict()


def test_the_command_writes_the_same(tmp_path, written, cli):
    words = ("--by", "score.length", "--keep", 0.4, "--require", "conversation < 20")
    assert cli("prune", written, *words, "--out", tmp_path / "kept").code == 0
    stored = pl.concat([pl.read_parquet(path) for path in sorted((tmp_path / "kept").rglob("*.keep.parquet"))])
    result = curate.prune(
        curate.score(ROWS, ["length", "compression"], carry="conversation"),
        by="score.length",
        keep=0.4,
        require=["conversation < 20"],
        meaning=MEANING,
    )
    assert result.decisions().drop("source").equals(stored.drop("source"))


def test_examples_show_the_text_of_a_table_that_has_it(written):
    frame = frame_of(written).with_columns(ROWS["text"])
    result = curate.prune(frame, require=["LENGTH(text) > 1", "conversation >= 3"])
    shown = result.removal.examples
    assert shown.height > 0
    assert all(shown["text"].str.len_chars() > 0)


def test_a_folder_of_several_files_keeps_their_order(tmp_path, corpus):
    scored = curate.score(corpus, "length", tmp_path / "scores")
    result = curate.prune(scored, by="score.length", keep=0.5)
    assert result.decisions()["id"].to_list() == scored.scores().collect()["id"].to_list()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"by": "score.length", "keep": 0.3},
            "^the columns of the table do not record what a high score.length means. Give",
        ),
        ({"by": "score.lenth", "keep": 0.3}, "^the table has no column 'score.lenth'"),
        ({"require": ["score.lenth > 1"]}, "names 'score.lenth', which is no column; did you mean 'score.length'"),
        ({"cap": ["conv=1"]}, "--cap conv=1: 'conv' is a column neither of the scores nor of the inputs. There are"),
        ({"require": ["score.length > 1"], "materialize": True}, "materialize=True writes the kept rows to OUT/rows"),
        (
            {"require": ["score.duplicates > 0.2", "score.length > 1"]},
            "forms groups of duplicates again, from links that a table in memory does not have",
        ),
    ],
)
def test_what_a_table_cannot_tell_is_one_line(written, options, message):
    frame = frame_of(written).with_columns(pl.lit(1.0).alias("score.duplicates"))
    with pytest.raises(SchemaError, match=message) as caught:
        curate.prune(frame, **options)
    assert "curate-" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_duplicates_alone_need_no_links(written):
    frame = frame_of(written).with_columns(pl.Series("score.duplicates", [i % 2 for i in range(120)]))
    result = curate.prune(frame, require=["score.duplicates > 0.2"])
    assert result.decisions()["keep"].sum() == 60


def test_a_table_and_an_output_folder_exclude_each_other(tmp_path, written):
    with pytest.raises(SchemaError, match="decisions about a table in memory are returned, and not written"):
        curate.prune(frame_of(written), tmp_path / "kept", require=["score.length > 1"])
    assert not (tmp_path / "kept").exists()


def test_what_was_not_written_has_no_pools(tmp_path, written):
    result = curate.prune(written, require=["score.length > 1"])
    with pytest.raises(SchemaError, match="pruned without out"):
        curate.pools(written, kept=result)
    dry = curate.prune(written, tmp_path / "kept", require=["score.length > 1"], dry_run=True)
    with pytest.raises(SchemaError, match="a dry run only counts rows"):
        dry.decisions()


def test_what_is_no_table_is_refused():
    with pytest.raises(SchemaError, match="list is not a table"):
        curate.prune([1], require=["score.length > 1"])
