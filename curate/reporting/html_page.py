"""Write sections of text, charts and tables as one HTML page that needs no other file."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import cast

import altair as alt
import polars as pl
import vl_convert

from curate.charts.chart import Chart
from curate.shown import escaped, escaped_lines

EMBED = "window.vegaEmbed = vegaEmbed;"  # lets the page's own script call the bundled library
NEGLIGIBLE = 1e-6  # smaller numbers are printed as 0 in tables
STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:1180px;margin:2rem auto;padding:0 1rem}
body{color:#1b1f24;background:#fff}
h1{font-size:1.7rem;margin-bottom:.2rem}h2{font-size:1.2rem;margin-top:2.4rem;border-bottom:1px solid #d8dee4}
table{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:14px}
td,th{padding:.25rem .7rem;text-align:right;border-bottom:1px solid #eaeef2}
td:first-child,th:first-child,.l{text-align:left}table+table{margin-top:1rem}
pre{background:#f6f8fa;padding:.6rem;white-space:pre-wrap;overflow-wrap:anywhere}
pre{font-size:12px;max-height:9rem;overflow:auto}
.two{display:grid;grid-template-columns:1fr 1fr;gap:1rem}.note{color:#57606a}.vis{margin:.6rem 0;overflow-x:auto}
"""


@dataclass(frozen=True)
class Section:
    """One section of a page: a heading, then text, charts, tables and quotations, in this order.

    ``text`` is plain text. ``quotes`` are pairs of a title and a text.
    """

    title: str
    text: str = ""
    charts: Sequence[Chart] = ()
    tables: Sequence[pl.DataFrame] = ()
    quotes: Sequence[tuple[str, str]] = ()


def page(title: str, sections: Sequence[Section]) -> str:
    """Return an HTML document that holds everything it shows; it needs no network and no other file."""
    parts: list[str] = []
    specs: list[str] = []
    for section in sections:
        parts.append(f"<h2>{_html(section.title)}</h2>")
        if section.text:
            parts.append(f'<p class="note">{_html(section.text)}</p>')
        for chart in section.charts:
            parts.append(f'<div class="vis" id="vis{len(specs)}"></div>')
            # Without any "<", text from the data cannot close the script element.
            specs.append(_spec(chart))
        parts += [_table(frame) for frame in section.tables]
        if section.quotes:
            quotes = "".join(
                f"<div><b>{_html(name)}</b><pre>{escape(escaped_lines(text))}</pre></div>"
                for name, text in section.quotes
            )
            parts.append(f'<div class="two">{quotes}</div>')
    calls = "".join(f"vegaEmbed('#vis{i}',{spec},{{actions:false}});" for i, spec in enumerate(specs))
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{_html(title)}</title>'
        f"<style>{STYLE}</style>"
        f"<script>{vl_convert.javascript_bundle(EMBED, vl_version())}</script></head><body><h1>{_html(title)}</h1>"
        f"{''.join(parts)}<script type=module>{calls}</script></body></html>\n"
    )


def vl_version() -> str:
    """Return the Vega-Lite version of Altair as vl-convert names it, such as 6.1."""
    return ".".join(alt.SCHEMA_VERSION.lstrip("v").split(".")[:2])


def _html(text: str) -> str:
    """Return a text for HTML on one line; characters without a visible shape are escaped."""
    return escape(escaped(text))


def _spec(chart: Chart) -> str:
    """Return a chart as JSON for a script element, with the names and values in it escaped."""
    # Without any "<", text from the data cannot close the script element.
    return json.dumps(_visible(chart.to_dict()), sort_keys=True).replace("<", "\\u003c")


def _visible(value: object) -> object:
    if isinstance(value, str):
        return escaped(value)
    if isinstance(value, Mapping):
        return {escaped(str(key)): _visible(entry) for key, entry in cast(Mapping[object, object], value).items()}
    return [_visible(entry) for entry in cast(Sequence[object], value)] if isinstance(value, list) else value


def _table(frame: pl.DataFrame) -> str:
    def cell(value: object) -> str:
        if isinstance(value, float):
            return _html(f"{value:.4g}" if abs(value) >= NEGLIGIBLE else "0")
        return _html("-" if value is None else str(value))

    sides = [' class="l"' if frame[name].dtype == pl.String else "" for name in frame.columns]
    head = "".join(f"<th{side}>{_html(name)}</th>" for side, name in zip(sides, frame.columns, strict=True))
    rows = ("".join(f"<td{s}>{cell(v)}</td>" for s, v in zip(sides, row, strict=True)) for row in frame.rows())
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"
