"""A target may be several files, joined by ``+``, for every scorer that has one."""

import numpy as np
import polars as pl
import pytest
from conftest import documents

from curate import score
from curate.errors import CurateError, SchemaError
from curate.scoring import specs


@pytest.fixture
def files(tmp_path):
    vectors = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
    rows = documents(60).with_columns(pl.Series("emb.x", vectors, dtype=pl.Array(pl.Float32, 4)))
    (tmp_path / "target").mkdir()
    for name, part in (("a", rows[:10]), ("b", rows[10:20])):
        part.write_parquet(tmp_path / "target" / f"{name}.parquet")
    rows[20:].write_parquet(tmp_path / "data.parquet")
    return tmp_path


def scores(files, spec, out):
    score(files / "data.parquet", spec, files / out)
    return pl.read_parquet(files / out / "data.parquet.scores.parquet")


@pytest.mark.parametrize(("scorer", "options"), [("dsir", ""), ("transport_value", "embedding=emb.x,")])
def test_several_files_are_one_target(files, scorer, options):
    place = files / "target"
    both = f"{place / 'a.parquet'}+{place / 'b.parquet'}"
    of_files = scores(files, f"{scorer}:{options}target={both}", "files")
    of_folder = scores(files, f"{scorer}:{options}target={place}", "folder")
    column = f"score.{scorer}"
    assert of_files[column].to_list() == pytest.approx(of_folder[column].to_list())
    # The contents of both files decide the scores, so that a change of either refuses to continue.
    assert {path.name for path in specs.files_read([f"{scorer}:target={both}"])} == {"a.parquet", "b.parquet"}


def test_a_file_may_have_the_sign_in_its_name(files):
    (files / "c++").mkdir()
    (files / "target" / "b.parquet").rename(files / "c++" / "b+.parquet")
    rows = pl.concat(map(pl.read_parquet, [files / "target" / "a.parquet", files / "c++" / "b+.parquet"]))
    rows.write_parquet(files / "both.parquet")
    several = f"{files / 'c++' / 'b+.parquet'}+{files / 'target'}"
    for scorer, option in (("dsir", "target"), ("contamination", "against"), ("duplicates", "against")):
        of_several = scores(files, f"{scorer}:{option}={several}", f"{scorer}-several")
        of_one_file = scores(files, f"{scorer}:{option}={files / 'both.parquet'}", f"{scorer}-both")
        assert of_several.equals(of_one_file)


@pytest.mark.parametrize("scorer", ["dsir:target", "contamination:against", "duplicates:against", "classifier:good"])
def test_a_list_without_files_is_refused(scorer, files):
    with pytest.raises(SchemaError, match=r"'\+' names no files"):
        scores(files, f"{scorer}=+", "out")
    with pytest.raises(CurateError, match=f"option {scorer.partition(':')[2]}= in .* has no value"):
        scores(files, f"{scorer}=", "out")


def test_a_missing_part_of_a_target_is_named(files):
    with pytest.raises(SchemaError, match=r"no input files at .*nowhere\.jsonl"):
        scores(files, f"dsir:target={files / 'target'}+{files / 'nowhere.jsonl'}", "out")
