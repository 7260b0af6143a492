"""`--cap` on a column of the inputs: the decisions equal those of a column that was carried into the score files."""

import json

import polars as pl
import pytest
from conftest import documents

from curate.engines.local import Local
from curate.errors import SchemaError
from curate.pruning.prune import prune
from curate.scoring.score import score
from curate.tables import row_ranges, scored, writer

ROWS = 200
CALLS = [
    {"cap": ["conversation=2"], "by": "score.length", "keep": 0.3},
    {"cap": ["conversation=1", "ratio=3"], "max_source_removal": 1},
    {"cap": ["ratio=even"], "keep_rows": 50},
    {"cap": ["conversation=120tokens"], "require": ["score.length > 150"], "by": "tokens", "keep_rows": 20},
    {"cap": ["source=60", "conversation=2"], "by": "score.length", "keep": 0.2, "balance": "source"},
]


def rows() -> pl.DataFrame:
    """Rows whose conversation or ratio is often null; a ratio may be a whole number."""
    return documents(ROWS).with_columns(
        conversation=pl.Series([None if i % 9 == 0 else f"c{i // 4}" for i in range(ROWS)]),
        ratio=pl.Series([None if i % 11 == 0 else (i % 40) / 4 for i in range(ROWS)]),
    )


@pytest.fixture(params=["parquet", "jsonl"])
def data(tmp_path, request):
    """Three files. The second has the ratio as whole numbers, and the third lacks it; a line cannot be read."""
    folder = tmp_path / "data"
    folder.mkdir()
    first, second, third = rows().iter_slices(70)
    for i, part in enumerate((first, second.with_columns(pl.col("ratio").cast(pl.Int64)), third.drop("ratio"))):
        if request.param == "parquet":
            part.write_parquet(folder / f"{i}.parquet", row_group_size=16)
        else:
            lines = [json.dumps(row) for row in part.to_dicts()]
            (folder / f"{i}.jsonl").write_text("\n".join([*lines[:5], "", "{", *lines[5:]]) + "\n")
    return folder


def decisions(folder) -> dict[str, bytes]:
    names = ("*.keep.parquet", "removal.parquet")
    return {path.name: path.read_bytes() for name in names for path in folder.rglob(name)}


@pytest.mark.parametrize("options", CALLS)
def test_the_bytes_are_those_of_a_carried_column(tmp_path, data, options):
    score([data], "length", tmp_path / "carried", carry=("conversation", "ratio"), max_bad=0.5)
    score([data], "length", tmp_path / "plain", max_bad=0.5)
    expected = prune(tmp_path / "carried", tmp_path / "kept-carried", **options)
    result = prune(tmp_path / "plain", tmp_path / "kept-plain", **options)
    assert decisions(tmp_path / "kept-plain") == decisions(tmp_path / "kept-carried")
    assert result.removal.by_reason.equals(expected.removal.by_reason)
    assert any(reason.startswith("cap: ") for reason in result.by_reason["reason"])
    assert result.removal.examples.equals(expected.removal.examples)


def test_columns_of_both_kinds_in_one_call(tmp_path, data):
    score([data], "length", tmp_path / "carried", carry=("conversation", "ratio"), max_bad=0.5)
    score([data], "length", tmp_path / "half", carry="conversation", max_bad=0.5)
    options = {"cap": ["conversation=2", "ratio=4"], "by": "score.length", "keep": 0.1, "max_source_removal": 1}
    for name, workers in (("carried", 1), ("half", 2)):
        prune(tmp_path / name, tmp_path / f"kept-{name}", engine=Local(workers), **options)
    assert decisions(tmp_path / "kept-half") == decisions(tmp_path / "kept-carried")


def test_a_column_that_cannot_be_used_is_one_line(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    rows().with_columns(vector=pl.lit([1.0, 2.0])).write_parquet(folder / "0.parquet")
    score([folder], "length", tmp_path / "scores")
    with pytest.raises(SchemaError, match="--cap conversaton=1: 'conversaton' is a column neither .* conversation"):
        prune(tmp_path / "scores", tmp_path / "kept", cap=["conversaton=1"])
    with pytest.raises(SchemaError, match="has vector as .*, which has no single value a row"):
        prune(tmp_path / "scores", tmp_path / "kept", cap=["vector=1"])
    (folder / "0.parquet").rename(folder / "1.parquet")
    with pytest.raises(SchemaError, match="'conversation' is no column of .* Columns of the inputs cannot be used: .*"):
        prune(tmp_path / "scores", tmp_path / "kept", cap=["conversation=1"])
    assert not (tmp_path / "kept").exists()


def test_an_input_that_changed_is_refused(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    rows().write_parquet(folder / "0.parquet")
    score([folder], "length", tmp_path / "scores")
    rows().reverse().write_parquet(folder / "0.parquet")
    with pytest.raises(SchemaError, match="changed since they were scored"):
        prune(tmp_path / "scores", tmp_path / "kept", cap=["conversation=1"])


def test_ranges_of_rows_change_nothing(tmp_path, monkeypatch):
    """Score files are read in ranges, and inputs as a whole; each row without a value is told apart by its place."""
    monkeypatch.setattr(row_ranges, "RANGE_BYTES", 512)
    folder = tmp_path / "data"
    folder.mkdir()
    rows().write_parquet(folder / "0.parquet")
    score([folder], "length", tmp_path / "carried", carry="ratio")
    score([folder], "length", tmp_path / "plain")
    for name in ("carried", "plain"):
        (shard,) = scored.score_files(tmp_path / name)
        writer.write(shard.path, pl.read_parquet(shard.path).iter_slices(32))
        assert len(row_ranges.row_ranges(shard)) > 1
        options = {"cap": ["ratio=even"], "keep_rows": 20, "require": ["score.length > 100"]}
        prune(tmp_path / name, tmp_path / f"kept-{name}", **options)
    assert decisions(tmp_path / "kept-plain") == decisions(tmp_path / "kept-carried")
