"""Write what pruning kept and removed: removal.parquet for programs, and removal.md for people.

In: a `Removal`. Out: two files.
"""

from pathlib import Path

from curate.pruning.removal_table import KEPT_REASON, PAGE, SCHEMA, TABLE, Removal, summary, warnings
from curate.shown import escaped
from curate.storage import files
from curate.tables import writer


def save(removal: Removal, out: Path) -> None:
    """Write the table of reasons to ``removal.parquet`` and ``removal.md`` below ``out``, each whole or not at all.

    The Parquet metadata holds the summary and the warnings too, and what tokens are called, for the page of a report.
    """
    fields = {"summary": _sentence(removal), "warnings": list(warnings(removal)), "tokens_noun": removal.tokens_noun}
    writer.write(out / TABLE, [removal.by_reason], schema=SCHEMA, fields=fields)
    files.write_text(out / PAGE, page(removal))


def page(removal: Removal) -> str:
    """Return the tables of reasons, the warnings and the examples as Markdown."""
    lines = ["# What pruning kept and removed", "", escaped(_sentence(removal)), ""]
    for line in warnings(removal):
        lines += [escaped(f"Warning: {line}."), ""]
    if removal.requirements:
        lines += [
            "A row that fails several requirements counts for the first of them. A lower bound on score.duplicates is "
            "applied last.",
            "",
            f"| reason | rows | {removal.tokens_noun} |",
            "|---|---:|---:|",
        ]
        for reason, rows, tokens in removal.by_reason_in_all.iter_rows():
            lines.append(f"| {_cell(reason)} | {rows:,} | {tokens:,} |")
        lines.append("")
    lines += [f"| source | reason | rows | {removal.tokens_noun} |", "|---|---|---:|---:|"]
    for source, reason, rows, tokens in removal.by_reason.iter_rows():
        lines.append(f"| {_cell(source)} | {_cell(reason)} | {rows:,} | {tokens:,} |")
    return "\n".join([*lines, *_examples(removal)]) + "\n"


def _examples(removal: Removal) -> list[str]:
    """Return the lines about examples of removed rows, those of each reason together."""
    if removal.examples.is_empty():
        return []
    lines = ["", "## Examples of removed rows", ""]
    lines += ["| reason | id | source | values | text |", "|---|---|---|---|---|"]
    reasons = [reason for reason in removal.by_reason_in_all["reason"] if reason != KEPT_REASON]
    for reason in reasons:
        for row in removal.examples.filter(removal.examples["reason"] == reason).iter_rows():
            lines.append("| " + " | ".join(map(_cell, row)) + " |")
    return lines


def _sentence(removal: Removal) -> str:
    """Return what is kept in all, as a sentence that names the score."""
    how = [f"{len(removal.requirements)} requirements" if len(removal.requirements) > 1 else "a requirement"]
    how = [*(how if removal.requirements else []), *([removal.by] if removal.by else [])]
    return f"Pruning by {' and '.join(how)} {summary(removal)}."


def _cell(text: str) -> str:
    """Escape a text for a cell of a Markdown table. Sources are named after folders, which may hold any character."""
    return escaped(text.strip()).replace("\\", "\\\\").replace("|", "\\|")
