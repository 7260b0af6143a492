"""Run tables as spreadsheets, trackers and data-frame libraries write them: all dialects are the same table.

What is not a number is refused in one line that names the file, the run and the column, for every kind of column.
"""

import json
from datetime import date

import numpy as np
import polars as pl
import pytest

from curate.errors import CurateError, SchemaError
from curate.runs import run_table
from curate.selection import pilot_table
from pipelines.shared.cli import run

RNG = np.random.default_rng(5)
SHARE = RNG.uniform(0.05, 0.95, 30).round(3)
TABLE = pl.DataFrame(
    {
        "run": [f"r{i}" for i in range(30)],
        "corpus": ["x", "y"] * 15,
        "seed": [0, 1] * 15,
        "params": RNG.choice([1e7, 3e7], 30),
        "tokens": RNG.choice([1e8, 3e8, 1e9], 30),
        "weight.a": SHARE,
        "weight.b": (1 - SHARE).round(3),
        "unique.a": 5e8,
        "loss.web": (1.5 + np.exp(-SHARE) + 0.002 * RNG.standard_normal(30)).round(6),
        "loss.code": (2.5 - 0.5 * SHARE).round(6),
        "metric.err": (0.9 - 0.3 * SHARE).round(6),
        "lr": 3e-4,
        "planned_tokens": 1e9,
    }
)
QUICK = ("--starts", 2, "--draws", 2)


def fitted(path, *words, out="fit.json"):
    """The record of a fit by the command line."""
    run("fit", path, "--out", path.parent / out, *QUICK, *words)
    return json.loads((path.parent / out).read_text())


def text(frame: pl.DataFrame, separator: str = ",") -> str:
    return frame.write_csv(separator=separator)


EXCEL_ROWS = "\n".join([*text(TABLE).splitlines(), "," * 12, "", ","]) + "\n"
DIALECTS = {
    "plain.csv": text(TABLE).encode(),
    "RUNS.CSV": text(TABLE).encode(),
    "tabs.tsv": text(TABLE, "\t").encode(),
    "tabs.csv": text(TABLE, "\t").encode(),
    "no_ending": text(TABLE).encode(),
    "semicolons.csv": text(TABLE, ";").encode(),
    "mark.csv": b"\xef\xbb\xbf" + text(TABLE).encode(),
    "windows.csv": text(TABLE).replace("\n", "\r\n").encode(),
    "old_mac.csv": text(TABLE).replace("\n", "\r").encode(),
    "unicode_text.txt": text(TABLE, "\t").encode("utf-16"),
    "empty_rows_and_columns.csv": EXCEL_ROWS.encode(),
    "no_last_newline.csv": text(TABLE).rstrip("\n").encode(),
    "blank_lines.csv": b"\n" + text(TABLE).replace("\nr7,", "\n\nr7,").encode(),
    "spaces.csv": text(TABLE).replace(",", ", ").encode(),
    "quotes.csv": TABLE.write_csv(quote_style="always").encode(),
    "index.csv": "\n".join(
        f"{i},{line}" if i else f",{line}" for i, line in enumerate(text(TABLE).splitlines())
    ).encode(),
    "unnamed.csv": "\n".join(
        f"{i},{line}" if i else f"Unnamed: 0,{line}" for i, line in enumerate(text(TABLE).splitlines())
    ).encode(),
    "trailing_commas.csv": "\n".join(f"{line},," for line in text(TABLE).splitlines()).encode(),
}  # fmt: skip


@pytest.mark.parametrize("name", DIALECTS)
def test_every_dialect_is_the_same_table(tmp_path, name):
    (tmp_path / name).write_bytes(DIALECTS[name])
    data = run_table.read(tmp_path / name)
    assert data.frame.equals(run_table.read(TABLE).frame)
    assert data.notes == ()


@pytest.mark.parametrize("name", ["runs.parquet", "RUNS.PARQUET", "runs.csv", "runs"])
def test_parquet_is_known_by_its_first_bytes(tmp_path, name):
    TABLE.write_parquet(tmp_path / name)
    assert run_table.read(tmp_path / name).frame.equals(run_table.read(TABLE).frame)


def test_numbers_in_columns_of_text_or_categories_are_numbers(tmp_path):
    words = TABLE.with_columns(pl.col("params", "weight.a", "loss.web").cast(pl.String))
    words.with_columns(pl.col("loss.code").cast(pl.String).cast(pl.Categorical)).write_parquet(tmp_path / "r.parquet")
    assert run_table.read(tmp_path / "r.parquet").frame.equals(run_table.read(TABLE).frame)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("runs.xlsx", b"PK\x03\x04rest", "is a workbook or an archive. Save its table as CSV"),
        ("runs.jsonl", b'{"run": "r0"}\n', "has no column 'params'"),
        ("runs.jsonl", b'{"run": "r0"}\n{"run":\n', r"cannot be read as a run table \(line 2 is not JSON"),
        ("runs.json", b"[1, 2]", "its rows are not dictionaries of column names and values"),
        ("runs.arrow", b"ARROW1\x00\x00", "cannot be read as a run table"),
        ("runs.csv.gz", b"\x1f\x8b\x08\x00", "cannot be read as a run table"),
        ("latin.csv", "run,params\nré,1\n".encode("latin-1"), "is neither Parquet nor UTF-8 text"),
        ("open.csv", text(TABLE).replace("r7,", '"r7,').encode(), "cannot be read as a run table"),
        ("zeros.csv", b"run,params\nr\x00,1\n", "is neither Parquet nor UTF-8 text"),
        ("empty.csv", b"", "has no column 'run'"),
        ("header.csv", text(TABLE).splitlines()[0].encode(), "has no rows"),
        ("other.csv", b"name,size\nr0,1\n", "has no column 'run'; .* Its columns: name, size"),
        ("twice.csv", text(TABLE).replace("loss.code", "loss.web", 1).encode(), "two columns named 'loss.web'"),
        ("thousands.csv", text(TABLE).replace(",1000000000.0,", ",1,000,000,000,", 1).encode(), r"line \d+: 16 values"),
        ("nameless.csv", text(TABLE).replace("r7,", ",").encode(), "the run of row 8 has no name"),
        ("runs.parquet", b"PAR1 and nothing else", "cannot be read as a run table"),
        ("runs.parquet", b"not Parquet", "cannot be read as a run table"),
    ],
)
def test_what_is_no_table_is_one_line_with_the_file(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SchemaError, match=message) as caught:
        run("fit", tmp_path / name, "--eval", "web", "--out", tmp_path / "fit.json")
    assert "\n" not in str(caught.value)
    assert name in str(caught.value)


COLUMNS = ("params", "tokens", "weight.a", "unique.a", "loss.web")
# Numbers where the column has this unit; see tests/runs/test_table_units.py.
WRITTEN = {
    ("25%", "weight.a"),
    *((size, count) for size in ("70M", "7b") for count in ("params", "tokens", "unique.a")),
}
CELLS = {
    "crashed": "",
    "-": "",
    "N/A": "",
    "nan?": "",
    "true": "",
    "1e": "",
    "0x10": "",
    "1,000,000": "Write 1000000, without thousands separators",
    "1 000 000": "Write 1000000, without thousands separators",
    "25%": "Write 0.25",
    "70M": "Write 7e+07",
    "7b": "Write 7e+09",
    "2,5": "",
}


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize(
    ("column", "cell"), [(column, cell) for column in COLUMNS for cell in CELLS if (cell, column) not in WRITTEN]
)
def test_a_wrong_cell_is_one_line_with_file_run_column_and_remedy(tmp_path, column, cell, suffix):
    path = tmp_path / f"runs{suffix}"
    cells = TABLE.with_columns(
        pl.when(pl.col("run") == "r3").then(pl.lit(cell)).otherwise(pl.col(column)).alias(column)
    )
    cells.write_csv(path) if suffix == ".csv" else cells.write_parquet(path)
    with pytest.raises(CurateError) as caught:
        run("fit", path, "--law", "mixing", "--eval", "web", "--out", tmp_path / "fit.json")
    message = str(caught.value)
    assert message.startswith(f"{path}: {column} of run 'r3' is \"{cell}\", which is not a number. ")
    assert message.endswith(", or drop such rows with --where")
    assert CELLS[cell] in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("column", "remedy"), [("loss.web", "Write 2.163, with a decimal point"), ("tokens", "Write 2163")]
)
def test_a_comma_is_a_decimal_point_in_losses_and_separates_thousands_in_counts(column, remedy):
    table = TABLE.with_columns(pl.lit("2,163").alias(column))
    with pytest.raises(SchemaError, match=rf"{remedy}.*\(30 such values\)|\(30 such values\).*{remedy}"):
        run_table.read(table).numbers(column)


@pytest.mark.parametrize(("value", "shown"), [(True, "True"), ([1.0], r"\[1.0\]"), (date(2026, 1, 2), "2026-01-02")])
def test_columns_of_other_types_are_refused(value, shown):
    table = TABLE.with_columns(pl.Series("loss.web", [value] * 30))
    with pytest.raises(SchemaError, match=f"the run table: loss.web of run 'r0' is \"{shown}\", which is not a number"):
        run_table.read(table).loss("web")


def test_pandas_columns_of_mixed_types_are_one_line():
    pandas = pytest.importorskip("pandas")
    mixed = pandas.DataFrame({"run": ["a", "b"], "params": [1e6, 1e6], "tokens": [1e8, 2e8], "loss.web": [2.0, "x"]})
    with pytest.raises(SchemaError, match=r"the table of pandas cannot be read \(.*loss\.web.*pandas.to_numeric"):
        run_table.read(mixed)


@pytest.fixture
def crashed(tmp_path):
    """A table in which the loss of r3 is a word, as a CSV file."""
    path = tmp_path / "crashed.csv"
    cells = pl.when(pl.col("run") == "r3").then(pl.lit("crashed")).otherwise(pl.col("loss.web").cast(pl.String))
    TABLE.with_columns(cells.alias("loss.web")).write_csv(path)
    return path


@pytest.mark.parametrize("where", ["run <> 'r3'", "loss.web <> 'crashed'", "loss.web > 0", "loss.web IS NOT NULL"])
def test_rows_with_words_can_be_dropped(crashed, where):
    assert fitted(crashed, "--law", "mixing", "--eval", "web", "--where", where)["rows"] == 29


def test_a_word_in_the_loss_of_another_eval_does_no_harm(crashed):
    assert fitted(crashed, "--law", "mixing", "--eval", "code")["rows"] == 30


def test_every_command_that_reads_a_run_table_names_the_word(crashed, tmp_path):
    line = r"crashed\.csv: loss\.web of run 'r3' is \"crashed\", which is not a number"
    with pytest.raises(SchemaError, match=line):
        run(*f"cmr {crashed} --general web --domain code --pool b --tolerance 0.05 --out {tmp_path}/cmr.json".split())
    with pytest.raises(SchemaError, match=line):
        pilot_table.read(crashed, "web", ["a", "b"])
    with pytest.raises(SchemaError, match=line):
        run_table.read(crashed).losses()
    # Losses are not read by predict, but counts and shares are.
    record = fitted(crashed, "--law", "mixing", "--eval", "code")
    assert record["rows"] == 30
    run("predict", tmp_path / "fit.json", crashed, "--out", tmp_path / "p.parquet")
    wrong = tmp_path / "wrong.csv"
    wrong.write_text(crashed.read_text().replace("r5,y,1,", "r5,y,1,N/A"))
    with pytest.raises(SchemaError, match=r"wrong\.csv: params of run 'r5' is \"N/A"):
        run("predict", tmp_path / "fit.json", wrong, "--out", tmp_path / "p.parquet")


def test_other_columns_are_kept_and_serve_conditions(tmp_path):
    path = tmp_path / "runs.csv"
    TABLE.write_csv(path)
    data = run_table.read(path, where="corpus = 'x' AND lr < 1e-3 AND planned_tokens >= tokens AND metric.err < 0.9")
    assert set(TABLE.columns) == set(data.frame.columns)
    assert len(data) == 15
    assert data.numbers("lr").tolist() == [3e-4] * 15
    assert data.numbers("metric.err").tolist() == TABLE.filter(corpus="x")["metric.err"].to_list()


def test_the_column_training_says_which_rows_belong_together():
    same = {"params": 1e8, "weight.a": 0.25, "weight.b": 0.75}
    table = TABLE.with_columns(
        pl.Series("training", [f"t{i // 3}" for i in range(30)]),
        pl.Series("tokens", [1e9 + 1e8 * i for i in range(30)]),
        pl.lit(1e10).alias("planned_tokens"),
        *(pl.lit(value).alias(name) for name, value in same.items()),
    )
    trainings = np.unique(table["training"].to_numpy(), return_inverse=True)[1].tolist()
    assert run_table.read(table).clusters.tolist() == trainings
    assert run_table.read(table.drop("weight.a", "weight.b")).clusters.tolist() == trainings
