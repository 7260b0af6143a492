"""Labels and probabilities: the same classes, however labels and probabilities are written, give the same scores."""

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curate.errors import SchemaError
from curate.scoring import score

SURE = 0.88  # of the row's own class


def probabilities(numbers: list[int], width: int) -> list[list[float]]:
    """Probabilities of ``width`` classes, of which each row's own has most."""
    rest = (1 - SURE) / (width - 1)
    return [[SURE if place == number else rest for place in range(width)] for number in numbers]


def quality(tmp_path, labels, probs, spec: str = "label_quality") -> list[float]:
    """Score a file with these labels and probabilities."""
    (tmp_path / "data").mkdir()
    pq.write_table(pa.table({"label": labels, "probs.0": probs}), tmp_path / "data" / "a.parquet")
    score.score([str(tmp_path / "data")], (spec,), tmp_path / "out", on_error="fail")
    return pl.read_parquet(tmp_path / "out" / "a.parquet.scores.parquet")["score.label_quality"].to_list()


def right(count: int, width: int) -> list[float]:
    """Return the scores where every label has the largest probability."""
    return pytest.approx([SURE - (1 - SURE) / (width - 1)] * count)


NUMBERS = [0, 2, 11, 10, 1, 9, 3, 4, 5, 6, 7, 8]
GAPS = [0, 11, 5, 2]


@pytest.mark.parametrize(
    ("numbers", "labels"),
    [
        (NUMBERS, pa.array(NUMBERS)),
        (NUMBERS, pa.array([str(n) for n in NUMBERS])),
        (NUMBERS, pa.array([f"{n:02}" for n in NUMBERS])),
        (NUMBERS, pa.array([f"{n}.0" for n in NUMBERS])),
        (NUMBERS, pa.array([str(n) for n in NUMBERS]).dictionary_encode()),
        (NUMBERS, pa.array(NUMBERS).dictionary_encode()),
        (NUMBERS, pa.array([float(n) for n in NUMBERS])),
        (GAPS, pa.array(GAPS, pa.uint8())),
        (GAPS, pa.array([str(n) for n in GAPS], pa.string_view())),
        # Twelve names, as many as columns: numbers first, by value, then words.
        (NUMBERS, pa.array([str(n + 1) for n in NUMBERS])),
        (NUMBERS, pa.array([str(n - 1) for n in NUMBERS])),
        (NUMBERS, pa.array([str(n) if n < 11 else "unknown" for n in NUMBERS])),
    ],
)
def test_labels_that_spell_numbers_are_the_classes_of_these_numbers(tmp_path, numbers, labels):
    assert quality(tmp_path, labels, pa.array(probabilities(numbers, 12))) == right(len(numbers), 12)


@pytest.mark.parametrize("labels", [pa.array([False, True, True]), pa.array(["false", "true", "true"])])
def test_booleans_are_two_classes(tmp_path, labels):
    assert quality(tmp_path, labels, pa.array(probabilities([0, 1, 1], 2))) == right(3, 2)


@pytest.mark.parametrize(
    ("fields", "labels"),
    [
        (["dog", "cat", "eel"], pa.array(["dog", "cat", "dog"])),
        (["10", "2", "1"], pa.array(["10", "2", "10"])),
        (["10", "2", "1"], pa.array([10, 2, 10])),
    ],
)
def test_fields_of_a_struct_are_matched_to_labels_by_name(tmp_path, fields, labels):
    rows = [dict(zip(fields, row, strict=True)) for row in probabilities([0, 1, 0], 3)]
    assert quality(tmp_path, labels, pa.array(rows)) == right(3, 3)


def test_fields_that_differ_between_files_are_refused(tmp_path):
    for name, fields in (("a", ["cat", "dog"]), ("b", ["cat", "eel"])):
        rows = [dict(zip(fields, row, strict=True)) for row in probabilities([0, 1], 2)]
        (tmp_path / "data").mkdir(exist_ok=True)
        pq.write_table(pa.table({"label": ["cat", "cat"], "probs.0": rows}), tmp_path / "data" / f"{name}.parquet")
    with pytest.raises(SchemaError, match="b.parquet: probs.0 has the fields cat, eel, and .*a.parquet: probs.0 has"):
        score.score([str(tmp_path / "data")], ("label_quality",), tmp_path / "out")


def test_classes_that_a_user_orders_are_refused_where_the_fields_name_them(tmp_path):
    rows = [{"cat": 0.9, "dog": 0.1}, {"cat": 0.1, "dog": 0.9}]
    with pytest.raises(SchemaError, match="the fields of the structs name the classes .cat, dog.. Leave out classes="):
        quality(tmp_path, pa.array(["cat", "dog"]), pa.array(rows), "label_quality:classes=dog+cat")


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["a", "b", "c"], "label has 3 classes .a, b, c. and the columns have 4. Name all 4"),
        (["0", "1", "7"], "label has 3 classes .0, 1, 7. and the columns have 4"),
        ([0, 1, 7], "label 7 is outside the 4 classes of the columns, 0 to 3"),
        ([0, 1, -1], "label -1 is outside the 4 classes"),
        ([0.0, 1.0, float("nan")], "label nan is outside the 4 classes"),
        ([0.0, 1.0, 0.5], "label 0.5 is outside the 4 classes"),
        (["a", "b", None], "label is null in 1 rows"),
    ],
)
def test_labels_that_do_not_fit_the_columns_are_one_line(tmp_path, labels, message):
    with pytest.raises(SchemaError, match=message) as refusal:
        quality(tmp_path, pa.array(labels), pa.array(probabilities([0, 1, 2], 4)))
    assert "\n" not in str(refusal.value)
