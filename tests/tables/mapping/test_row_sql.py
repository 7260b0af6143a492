"""SQL over the columns of a row: what it may hold, and what it reads."""

import polars as pl
import pytest

from curate.errors import SchemaError
from curate.tables.mapping import row_sql


def expression(written, *columns):
    return row_sql.expression(written, columns, "here")


@pytest.mark.parametrize(
    ("written", "paths", "value"),
    [
        ("meta.domain", [("meta", "domain")], "A"),
        ("meta['domain']", [("meta", "domain")], "A"),
        ('meta."domain"', [("meta", "domain")], "A"),
        ("lower(meta.domain)", [("meta", "domain")], "a"),
        ("lower(meta['domain'])", [("meta", "domain")], "a"),
        ("coalesce(meta['in']['a b'], url)", [("meta", "in", "a b"), ("url",)], "deep"),
        ("a.b", [("a.b",)], "dotted"),
        ("split_part(url, '/', 1)", [("url",)], "x"),
        ("CASE WHEN meta.domain = 'A' THEN 'yes' ELSE 'it''s' END", [("meta", "domain")], "yes"),
        ("'web'", [], "web"),
    ],
)
def test_values_and_what_is_read(written, paths, value):
    frame = pl.DataFrame({"meta": [{"domain": "A", "in": {"a b": "deep"}}], "url": ["x/y"], "a.b": ["dotted"]})
    parsed = expression(written, *frame.columns)
    assert list(row_sql.paths(parsed)) == paths
    assert frame.select(parsed.alias("value"))["value"].to_list() == [value]


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("sum(a)", "one value for each row"),
        ("a - sum(a)", "one value for each row"),
        ("rank() over (order by a)", "one value for each row"),
        ("sum(a) over (partition by b)", "one value for each row"),
        ("count(*)", "one value for each row"),
        ("unnest(a)", "one value for each row"),
        ("(select 1)", "query of its own"),
        ("a in (select b from self)", "query of its own"),
        ("read_csv('/etc/passwd')", "reads a file"),
        ("now()", "time of day"),
        ("columns('a')", "several columns"),
        ("a b", "unexpected 'b'"),
        ("lower(", "no SQL expression"),
        ("", "no SQL expression"),
    ],
)
def test_what_is_no_value_of_a_row_is_refused(written, message):
    with pytest.raises(SchemaError, match=message) as error:
        expression(written, "a", "b")
    assert "\n" not in str(error.value)
