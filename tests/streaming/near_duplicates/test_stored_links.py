"""Links that a job stored are read file by file, by its output folder alone."""

import polars as pl
import pytest

from curate.errors import SchemaError
from curate.streaming.near_duplicates import settings_of_links, stored_links
from curate.streaming.near_duplicates.signatures import Bands
from curate.tables.batches import keys

TEXTS = ["one two three four five six seven eight", "other text", "one two three four five six seven eight", "x y z"]
NEAR = TEXTS[0] + " nine"  # of its five 5-grams, four are those of the first text: J = 4 / 5


def scored(tmp_path, cli, *options):
    (tmp_path / "data").mkdir()
    for name, texts in (("a", TEXTS), ("b", [NEAR])):
        rows = pl.DataFrame({"id": [f"{name}{i}" for i in range(len(texts))], "text": texts})
        rows.write_parquet(tmp_path / "data" / f"{name}.parquet")
    assert cli("score", tmp_path / "data", *options, "--out", tmp_path / "out").code == 0
    return tmp_path / "out"


def test_links_are_read_with_their_similarities(tmp_path, cli):
    out = scored(tmp_path, cli, "--scorer", "duplicates:seed=3,bands=20,rows=1")
    settings, threshold = settings_of_links(out)
    assert (settings, threshold) == (Bands(20, 1, 5, 3), 0.75)
    names = ["a0", "a1", "a2", "a3", "b0"]
    name_of = dict(zip(keys(names, settings.seed).tolist(), names, strict=True))
    links = {
        frozenset((name_of[first], name_of[second])): (similarity, equal)
        for table in stored_links(out)
        for first, second, similarity, equal in zip(
            *(getattr(table, name).tolist() for name in ("first", "second", "similarity", "equal")), strict=True
        )
    }
    leader = min(("a0", "a2"), key=lambda name: int(keys([name], 3)[0]))
    assert links == {frozenset(("a0", "a2")): (1.0, True), frozenset((leader, "b0")): (0.8, False)}
    assert sum(len(table.first) for table in stored_links(out, 0.9)) == 1


def test_a_job_without_the_scorer_has_no_links(tmp_path, cli):
    out = scored(tmp_path, cli, "--scorer", "length")
    with pytest.raises(SchemaError, match="has no links between duplicates. Give the job"):
        next(stored_links(out))


def test_a_job_that_did_not_finish_has_no_links(tmp_path, cli):
    out = scored(tmp_path, cli, "--scorer", "duplicates")
    (out / "_curate" / "duplicates" / "finished.npz").unlink()
    with pytest.raises(SchemaError, match="has no links"):
        settings_of_links(out)
