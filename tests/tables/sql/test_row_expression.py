"""SQL over the columns of a row: what it may hold, what it reads, and that it never depends on other rows."""

import datetime
import itertools
import warnings

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.errors import SchemaError
from curate.tables import sql


def expression(text, *columns, constants=True):
    return sql.row_expression(sql.WrittenSql(text, "here", "Change it"), columns, constants=constants)


@pytest.mark.parametrize(
    ("text", "paths", "value"),
    [
        ("meta.domain", [("meta", "domain")], "A"),
        ("meta['domain']", [("meta", "domain")], "A"),
        ('meta."domain"', [("meta", "domain")], "A"),
        ("lower(meta.domain)", [("meta", "domain")], "a"),
        ("lower(meta['domain'])", [("meta", "domain")], "a"),
        ("coalesce(meta['in']['a b'], url)", [("meta", "in", "a b"), ("url",)], "deep"),
        ("a.b", [("a.b",)], "dotted"),
        ('"a b" || `a b`', [("a b",)], "spacespace"),
        ("split_part(url, '/', 1)", [("url",)], "x"),
        ("CASE WHEN meta.domain = 'A' THEN 'yes' ELSE 'it''s' END", [("meta", "domain")], "yes"),
        ("CASE WHEN n >= 1.5k THEN 'many' ELSE 'few' END", [("n",)], "many"),
        ("'web'", [], "web"),
        ("score.x", [("score.x",)], "scored"),
        ("'it''s -- SELECT now() read_csv(1)'", [], "it's -- SELECT now() read_csv(1)"),
    ],
)
def test_values_and_what_is_read(text, paths, value):
    meta = [{"domain": "A", "in": {"a b": "deep"}}]
    frame = pl.DataFrame({"meta": meta, "url": ["x/y"], "a.b": ["dotted"], "a b": ["space"], "n": [2000]})
    frame = frame.with_columns(pl.Series("score.x", ["scored"]))
    parsed = expression(text, *frame.columns)
    assert list(parsed.paths) == paths
    assert frame.select(parsed.polars.alias("value"))["value"].to_list() == [value]


@pytest.mark.parametrize(
    ("text", "values"),
    [
        # Decimals would give .000000 for the first three, and stop at the zeros of the others.
        ("n / 30000000.0", [0.0, 1 / 3e7, 2 / 3e7]),
        ("1.0 * n / 30000000", [0.0, 1 / 3e7, 2 / 3e7]),
        ("price / 30000000", [0.25 / 3e7, 0.5 / 3e7, 0.0]),
        ("2.5 / n", [float("inf"), 2.5, 1.25]),
        ("1.0 * n / n", [None, 1.0, 1.0]),
        ("n / price", [0.0, 2.0, float("inf")]),
        ("(n - 0.5) / (price * 2.0)", [-1.0, 0.5, float("inf")]),
    ],
)
def test_a_quotient_is_that_of_floats(text, values):
    frame = pl.DataFrame({"n": [0, 1, 2], "price": pl.Series([0.25, 0.5, 0.0]).cast(pl.Decimal(10, 2))})
    assert expression(text, *frame.columns).values(frame).to_list() == values


def test_sums_and_products_of_decimals_stay_exact():
    frame = pl.DataFrame({"n": [3, 7]})
    assert expression("n * 0.1 = 0.3 OR n * 0.1 = 0.7", "n").values(frame).to_list() == [True, True]


def test_a_struct_may_be_called_as_scores_begin():
    assert expression("score.x", "score").paths == (("score", "x"),)
    assert expression("score.x", "other").paths == (("score.x",),)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sum(a)", "depends on other rows"),
        ("a - sum(a)", "depends on other rows"),
        ("rank() over (order by a)", "has a window"),
        ("sum(a) over (partition by b)", "has a window"),
        ("count(*)", "depends on other rows"),
        ("unnest(a)", "makes several rows of one"),
        ("(select 1)", "has a subquery"),
        ("a in (select b from self)", "has a subquery"),
        ("read_csv('/etc/passwd')", "reads a file"),
        ("a in (select b from scan_parquet ('x'))", "reads a file"),
        ("a = E'\\' or a in (select b from read_csv('x'))'", "unusual form"),
        ("a > 1 /* ' */ or a in (select 1) /* ' */", "unusual form"),
        ("a > 1 -- more", "unusual form"),
        ("a > $$x$$", "unusual form"),
        ("now()", "reads the clock"),
        ("a > localtimestamp", "reads the clock"),
        ("date(a)", "guesses the format of a date"),
        ("a = NULL", "compares with NULL, which is true for no row. Write IS NULL or IS NOT NULL"),
        ("a > 1 OR NULL <> b", "compares with NULL"),
        ("a BETWEEN NULL AND 3", "compares with NULL"),
        ("a = any(b)", "compares with all values of a column"),
        ("columns('a')", "stands for several columns"),
        ("a b", "unexpected 'b'"),
        ("lower(", "is no SQL expression"),
        ("least()", "is no SQL expression"),
        ("", "is no SQL expression"),
    ],
)
def test_what_is_no_value_of_a_row_is_refused(text, message):
    with pytest.raises(SchemaError, match=message) as error:
        expression(text, "a", "b")
    assert str(error.value).startswith("here ")
    assert "\n" not in str(error.value)


def test_a_constant_may_be_refused():
    with pytest.raises(SchemaError, match="names no column, so that it is the same for every row. Change it"):
        expression("1 = 1", constants=False)


def test_an_unknown_column_is_an_error_with_the_nearest_name():
    with pytest.raises(SchemaError, match=r"here names 'mta.lang', which is no column; did you mean 'meta'\? There"):
        expression("mta.lang = 'en'").check_columns(["meta", "text"])
    with pytest.raises(SchemaError, match=r"no column\. If it is a text, write it in single quotes: 'web'\. There"):
        expression("a = web").check_columns(["a"])


# Columns: a, b numbers; s, t texts; d dates; l, k lists of numbers; w lists of texts; m structs; p truth values.
ORDINARY = """
LENGTH(s) > 3 | LOWER(s) LIKE '%x%' | s ILIKE 'A%' | REGEXP_LIKE(s, '^a') | s ~ 'a' | COALESCE(a, 0) | IFNULL(a, b)
CASE WHEN a > 1 THEN 'x' ELSE t END | IF(p, a, b) | a BETWEEN 1 AND b | a NOT IN (1, 2) | s IN ('x', 'y') | a IN (b, 3)
CAST(a AS VARCHAR) | TRY_CAST(s AS DOUBLE) | a::float / 2 | EXTRACT(YEAR FROM d) | DATE_PART('month', d) | YEAR(d)
DATE(s, '%Y') | STRPTIME(s, '%Y') | STRFTIME(d, '%Y') | d > DATE '2020-01-01'
ARRAY_LENGTH(l) | l[1] + l[-1] | ARRAY_CONTAINS(l, a) | ARRAY_MEAN(l) | ARRAY_REVERSE(l) | ARRAY_UNIQUE(l)
d + INTERVAL '1 day' | ARRAY_TO_STRING(w, ',') | STRING_TO_ARRAY(s, ',') | SPLIT_PART(s, ',', 1)
m.x | m['x'] > 1 | m -> 'x'
ABS(a) + SIGN(b) | ROUND(a, 2) | FLOOR(a) | CEIL(a) | SQRT(a) | POW(a, 2) | LN(a) | LOG(a, 2) | EXP(a) | a % 2 | a // 2
NULLIF(a, b) | GREATEST(a, b) | LEAST(a, b) | a IS DISTINCT FROM b | a IS DISTINCT FROM NULL | COALESCE(a, NULL) > 1
p AND NOT p OR p | p IS TRUE | a IS NOT NULL
CONCAT(s, t) | CONCAT_WS('-', s, t) | s || t | SUBSTRING(s, 1, 2) | LEFT(s, 2) | REPLACE(s, 'a', 'b') | UPPER(s)
TRIM(s) | POSITION('a' IN s) | STARTS_WITH(s, 'a') | OCTET_LENGTH(s) | REVERSE(s) | LPAD(s, 5, ' ') | SIN(a) | -a
"""


@pytest.mark.parametrize("text", [text.strip() for line in ORDINARY.split("\n") for text in line.split(" | ") if line])
def test_ordinary_expressions_pass(text):
    assert expression(text).columns


# Every name of a function in the SQL of Polars 2.1, and names of other databases that a later version may add. Those
# that the installed version does not know are passed over.
FUNCTIONS = """
abs acos acosd any_value approx_count_distinct approx_quantile array_agg array_append array_contains array_dot_product
array_get array_inner_product array_length array_lower array_max array_mean array_min array_position array_reverse
array_sort array_sum array_to_string array_unique array_upper asin asind atan atan2 atan2d atand avg bit_and bit_count
bit_length bit_not bit_or bit_xor bitand bitcount bitnot bitor bitxor bool_and bool_or cbrt ceil ceiling char_length
character_length coalesce columns concat concat_ws contains corr cos cosd cot cotd count covar covar_pop covar_samp
cume_dist cum_sum current_date current_time current_timestamp date date_diff date_part date_trunc day dayofmonth
dayofweek dayofyear degrees dense_rank div ends_with erf every exp explode extract first first_value floor
gen_random_uuid generate_series greatest grouping hash hour if ifnull initcap kurtosis lag last last_value lead least
left length list_contains listagg ln localtime localtimestamp log log10 log1p log2 lower lpad ltrim max mean median min
minute mod mode month normalize not now nth_value ntile nullif nvl octet_length percent_rank percentile_cont pi pow
power quantile quantile_cont quantile_disc quarter radians rand random rank read_csv read_ipc read_json read_ndjson
read_parquet regexp_like regexp_replace replace reverse right round row_number rpad rtrim scan_csv scan_parquet second
shuffle sign sin sind skewness split_part sqrt starts_with std stddev stddev_pop stddev_samp stdev stdev_samp strftime
string_agg string_to_array strpos strptime substr substring sum tan tand time timestamp to_date to_timestamp trim trunc
truncate unnest upper uuid uuidv7 var var_pop var_samp variance week xor year
""".split()
CLOCKS = {"now", "current_date", "current_time", "current_timestamp", "localtime", "localtimestamp"}
OF_OTHER_ROWS = set(
    "approx_quantile array_agg avg corr count covar first first_value last listagg max median min quantile_cont "
    "row_number stddev string_agg sum unnest variance lag lead rank ntile cume_dist".split()
)
ARGUMENTS = """
 | * | DISTINCT a | a | s | d | l | w | p | a, b | a, 2 | a, 0.5 | 2, a | s, t | s, 'a' | s, 2 | s, a | d, '%Y'
s, '%Y' | s, '%Y-%m-%d' | l, 1 | l, a | l, k | w, ',' | w, s | 'year', d | '1d', d | 'month', d | p, a, b | s, 'a', 'b'
s, 1, 2 | s, ',', 1 | s, ',', a | '-', s, t | a, b, a | s, ',' ORDER BY a | '2020-01-02'
"""
WINDOWS = ["", " OVER ()", " OVER (ORDER BY a)", " OVER (PARTITION BY p)", " FILTER (WHERE p)"]
FRAME = pl.DataFrame(
    {
        "a": [3, 1, 2, None, 5, 1],
        "b": [1, 3, 3, 2, None, 7],
        "s": ["2020-01-02", "03/04/2020", "abc,d", "", None, "2021-12-31"],
        "t": ["abc,d", "a", "2020-01-02", "x", "y", ""],
        "d": [datetime.date(2020, month, month) for month in (5, 1, 3, 3, 2, 12)],
        "l": [[3, 1, 3], [2], [], None, [5, 4], [1, 1]],
        "k": [[1, 1, 3], [2], [], None, [0, 4], [9, 1]],
        "w": [["a", "b", "a"], ["2020-01-02"], [], None, ["y"], ["x", ""]],
        "p": [True, False, True, None, False, True],
    }
)


def evaluated(parsed: pl.Expr, frame: pl.DataFrame) -> list[object] | None:
    """The values of an expression, repeated if it is one for all rows; None if it does not work on this frame."""
    try:
        values = frame.select(parsed.alias("value"))["value"].to_list()
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException):
        return None
    return values * frame.height if len(values) == 1 else values


@pytest.mark.parametrize("name", FUNCTIONS)
def test_no_function_that_passes_depends_on_other_rows(name, capfd):
    """Each function of SQL, called with arguments of all kinds: what passes has the same value in any batch."""
    passed = 0
    lists = [text.strip() for line in ARGUMENTS.strip("\n").split("\n") for text in line.split(" | ")]
    for arguments, window in itertools.product(lists, WINDOWS):
        text = f"{name}({arguments}){window}"
        try:
            parsed = expression(text).polars
        except SchemaError as error:
            assert "\n" not in str(error)
            continue
        passed += 1
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            whole = evaluated(parsed, FRAME)
            backwards = evaluated(parsed, FRAME.reverse())
            singly = [evaluated(parsed, FRAME[i : i + 1]) for i in range(FRAME.height)]
        # An error ends a job, and may depend on other rows. The value of a row must not.
        if whole is not None:
            assert repr(backwards) == repr(whole[::-1]), text
            expected = [None if alone is None else [value] for alone, value in zip(singly, whole, strict=True)]
            assert repr(singly) == repr(expected), text
    assert not (passed and name in CLOCKS | OF_OTHER_ROWS)
    capfd.readouterr()  # Polars prints where it panics, such as on LEAST()


@pytest.mark.parametrize("name", sorted(CLOCKS))
def test_no_clock_passes_however_it_is_written(name):
    for text in (f"{name}", f"{name}()", f"YEAR({name.upper()} ( ))", f"a > {name}", f"({name})", f"-{name}()"):
        # Without brackets, NOW is a column.
        if text.rstrip(")").endswith("now") and "(" not in text.lstrip("("):
            continue
        with pytest.raises(SchemaError):
            expression(text)


NAMES = st.sampled_from(["a", "b", "score.x"])
ROW_WISE = st.recursive(
    NAMES | st.integers(-9, 9).map(str),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from("+-*"), inner).map(lambda parts: f"({' '.join(parts)})"),
        st.tuples(inner, inner).map(lambda parts: f"coalesce({parts[0]}, {parts[1]})"),
        st.tuples(inner, inner, inner).map(lambda parts: "case when {} > {} then {} else 0 end".format(*parts)),
        inner.map(lambda part: f"abs({part})"),
    ),
    max_leaves=6,
)


@given(ROW_WISE, st.lists(st.tuples(*[st.integers(-99, 99)] * 3), min_size=1, max_size=8), st.integers(0, 8))
def test_an_accepted_expression_has_the_same_value_in_any_batch(written, values, cut):
    frame = pl.DataFrame(values, schema={"a": pl.Int64, "b": pl.Int64, "score.x": pl.Int64}, orient="row")
    parsed = expression(written, *frame.columns)
    assert set(parsed.columns) <= set(frame.columns)
    value = parsed.polars.alias("v")
    parts = [part.with_columns(value) for part in (frame[:cut], frame[cut:])]
    assert pl.concat(parts, how="vertical_relaxed").equals(frame.with_columns(value))
