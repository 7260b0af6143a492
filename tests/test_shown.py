"""Characters that a terminal obeys, or that have no visible shape, are shown escaped."""

import re

import altair as alt
import polars as pl
import pytest

from curate.reporting.html_page import Section, page
from curate.shown import escaped, escaped_lines, shortened
from pipelines.shared import show

HOSTILE = ["\x1b[31mred", "new\nline", "tab\tbed", "\u202egpj.exe", "zero\u200bwidth", "\x9b2J", "\u2028", "\ufeffbom"]


@pytest.mark.parametrize("text", [*HOSTILE, "a\udc80"])  # the last is a byte of a file name that is no UTF-8
def test_hostile_names_become_visible(text):
    assert escaped(text).isprintable()
    assert escaped(text).isascii()


def test_how_escapes_look():
    assert escaped("\x1b[31mred\n\u202e") == r"\x1b[31mred\n\u202e"


@pytest.mark.parametrize("text", ["plain words", "汉字", "ไทย", "naïve", "emoji 🎉", ""])
def test_visible_letters_of_all_scripts_stay(text):
    assert escaped(text) == text


def test_lines_keep_their_breaks():
    assert escaped_lines("a\x07\nb\u200d") == "a\\x07\nb\\u200d"


def test_a_long_text_of_many_lines_is_shortened_to_one():
    assert shortened("a" * 200 + "\nb") == "a" * 117 + "..."
    assert shortened("first\nsecond") == "first"


def test_a_table_keeps_one_line_a_row_and_its_columns_aligned():
    frame = pl.DataFrame({"source\n": HOSTILE, "rows": range(len(HOSTILE))})
    lines = show.table(frame).split("\n")
    assert len(lines) == 1 + len(HOSTILE)
    assert len({len(line) for line in lines}) == 1
    assert all(line.isprintable() for line in lines)


def test_results_warnings_notes_and_titles_are_escaped(capsys):
    show.result(False, {}, "pool \x1b[2J")
    show.warn(["a\nb"])
    show.notes(["a\x07"])
    show.heading("\u202e")
    show._line("[red]\x1b", 1, 1, "")
    output = capsys.readouterr()
    assert output.out == "pool \\x1b[2J\n\n== \\u202e\n"
    assert output.err == "warning: a\\nb\nnote: a\\x07\n[red]\\x1b 1/1\n"


def test_a_report_page_shows_names_escaped():
    frame = pl.DataFrame({"source": HOSTILE[:7], "x": [1.0] * 7})
    chart = alt.Chart(frame.head(5)).mark_bar().encode(x="x:Q", y="source:N")
    html = page("t\x07", [Section("h\x1b", "n\u202e", [chart], [frame], [("q\x07", "line\nnext\x1b")])])
    body = html[html.index("</script></head>") :]
    assert not re.findall(r"[^\n\x20-\x7e]", body)
    assert r"<td class=\"l\">\x1b[31mred</td>".replace('\\"', '"') in body
    assert r"\\x1b[31mred" in body  # in the JSON of the chart
    assert r"\u001b" not in body
