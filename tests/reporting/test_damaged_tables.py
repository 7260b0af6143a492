"""A report of damaged score files or of a damaged removal.parquet is one line, or is made from what is sound."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import documents

from curate.errors import SchemaError
from curate.pruning.prune import prune
from curate.reporting.pools import removal_section
from curate.reporting.scores import score_sections
from curate.scoring.score import score

META = [b"x", b"[]", b'{"format": 99}', b'{"format": "x"}', b"\xff", b"[" * 100_000, b'{"format": NaN}']
META += [b'{"meanings": {"score.length": 3}}', b'{"meanings": 3}', b'{"log_weights": [[1]]}', b'{"summary": 3}']
META += [b'{"warnings": 3}', b'{"warnings": [3]}', b"9" * 10_000]
COLUMNS = {
    "text": ["x"],
    "bytes": [b"\xff"],
    "list": [[1]],
    "struct": [{"a": 1}],
    "null": [None],
    "bool": [True],
    "whole": [3],
    "nan": [float("nan")],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with scores/ and kept/."""
    out = tmp_path_factory.mktemp("folder")
    documents(30).write_parquet(out / "data.parquet")
    score(out / "data.parquet", "length", out / "scores")
    prune(out / "scores", by="score.length", keep=0.5, out=out / "kept")
    return out


def tables(folder):
    return {
        folder / "kept" / "removal.parquet": removal_section,
        folder / "scores" / "data.parquet.scores.parquet": score_sections,
    }


def damages(table):
    """Every damaged form of a table."""
    for content in META:
        yield table.replace_schema_metadata({b"curate": content})
    for i, name in enumerate(table.column_names):
        yield table.drop_columns([name])
        yield table.rename_columns([f"{n}s" if n == name else n for n in table.column_names])
        # The types of id, source and tokens are checked where rows are read.
        for values in COLUMNS.values() if name.startswith("score.") or "reason" in table.column_names else ():
            yield table.set_column(i, name, pa.array(values * table.num_rows))
    yield table.slice(0, 0)
    yield pa.table({})


def test_damaged_tables_are_shown_or_refused_in_one_line(folder):
    refused = 0
    for path, section in tables(folder).items():
        sound = path.read_bytes()
        for number, table in enumerate(damages(pq.read_table(path))):
            pq.write_table(table, path)
            try:
                list(section(folder))
            except SchemaError as error:
                refused += 1
                assert "\n" not in str(error)
            except Exception as error:
                pytest.fail(f"{path.name}, damage {number}: {type(error).__name__}: {error}")
        for content in (b"", b"PAR1", sound[:100], sound[: len(sound) // 2], sound[:-9] + b"\0" * 9):
            path.write_bytes(content)
            with pytest.raises(SchemaError) as caught:
                list(section(folder))
            assert "\n" not in str(caught.value)
        path.write_bytes(sound)
    assert refused > 8
