"""A plan as text: one line a budget, then what binds, crosses or warns."""

import re
from collections.abc import Mapping, Sequence

import polars as pl

from curate.planning.plan import Plan
from pipelines.shared.show import table

LEAST = 5e-4  # a share that is shown
POSSIBLE = 0.01  # a pool that could have this much is shown too
LOUD = 2.0  # times beyond the runs from which a line of its own says so
WIDE = 12  # pools beyond which the table has one line a pool and budget


def summary(plans: Sequence[Plan], record: Mapping[str, object]) -> str:
    """Return what was planned; ``record`` is plan.json."""
    rows: list[dict[str, object]] = record["plans"]  # type: ignore[assignment]
    parts = ["shares of training tokens (passes over the pool); loss and gain over baselines in nats per token (90 %)"]
    parts += [table(pl.DataFrame([_line(one) for one in plans]))]
    if any("ranges" in row or "shares" in row for row in rows):
        parts += ["", _free(rows)]
    for what, title in (("crossings", "pools that enter or leave:"), ("keep", "how much to keep:")):
        if what in record:
            parts += ["", title, *_said(record[what])]
    for one in record.get("front", ()):  # type: ignore[attr-defined]
        parts += ["", f"front of {' and '.join(one['evals'])} at {one['tokens']:.2g} tokens:", _front(one)]
    return "\n".join([*parts, *_notes(plans)])


def _notes(plans: Sequence[Plan]) -> list[str]:
    """Return what binds and warns, a line a budget; how far it extrapolates comes first and loud."""
    far = [
        (float(times[1]), note)
        for one in plans
        for note in one.warnings
        if (times := re.search(r" is ([\d.e+]+)x", note))
    ]
    loud = []
    if far and max(far)[0] >= LOUD:
        times, note = max(far)
        note = note.removeprefix("extrapolated: ")
        advice = "No interval covers a law that stops holding: pilot nearer to it"
        loud = ["", f"EXTRAPOLATED up to {times:.3g}-fold: {note}. {advice}"]
    notes = (f"at {one.budget.tokens:.2g} tokens: {'; '.join(one.warnings)}" for one in plans if one.warnings)
    return [*loud, "", *notes]


def _line(one: Plan) -> dict[str, object]:
    row: dict[str, object] = {"tokens": f"{one.budget.tokens:.2g}", "params": f"{one.budget.params:.2g}"}
    shares = {n: f"{w:.3f} ({one.epochs[n]:.2g}x)" for n, w in one.weights.items() if w >= LEAST}
    if len(one.weights) > WIDE:
        row["pools"] = ", ".join(f"{n} {text}" for n, text in sorted(shares.items(), key=lambda x: -one.weights[x[0]]))
    else:
        row |= {n: shares.get(n, "-") for n in one.weights}
    row |= {"loss": f"{one.loss:.4f}", "90 %": f"{one.low:.3f} to {one.high:.3f}"}
    row |= {f"over {name}": f"{g:.3f} ({low:.3f} to {high:.3f})" for name, (g, low, high) in one.gains.items()}
    if one.cost is not None:
        row["cost"] = f"{one.cost:.4g}"
    return row


def _free(rows: Sequence[Mapping[str, object]]) -> str:
    """Return what is free: shares of near-optimal mixtures, and shares planned by the draws."""
    lines = []
    for row in rows:
        budget, weights = row["budget"], row["weights"]
        for pool, weight in weights.items():  # type: ignore[attr-defined]
            line = {"tokens": f"{budget['tokens']:.2g}", "pool": pool, "share": f"{weight:.3f}"}  # type: ignore[index]
            most = weight
            for name, title in (("ranges", f"within {row.get('within')} nats"), ("shares", "over the draws")):
                if name in row:
                    low, high = row[name][pool]  # type: ignore[index]
                    line[title] = f"{low:.3f} to {high:.3f}"
                    most = max(most, high)
            if weight >= LEAST or most >= POSSIBLE:
                lines.append(line)
    return table(pl.DataFrame(lines))


def _said(found: object) -> list[str]:
    if isinstance(found, Mapping):
        curve = [row for row in found["curve"] if row["chosen"]]
        lines = [
            f"at {row['tokens']:.2g} tokens the best {row['bins']} bins, {row['kept']:.0%} of the unique tokens "
            f"(best in {row['votes']:.0%} of the draws)"
            for row in curve
        ]
        return [*lines, *(one["text"] for one in found.get("changes", ()))]
    return [one["text"] for one in found] or ["none between these budgets"]  # type: ignore[attr-defined]


def _front(one: Mapping[str, object]) -> str:
    rows = []
    for point in one["plans"]:  # type: ignore[attr-defined]
        row = {f"loss {name}": f"{loss:.4f}" for name, (loss, _, _) in point["losses"].items()}
        rows.append(row | {n: f"{w:.3f}" if w >= LEAST else "-" for n, w in point["weights"].items()})
    return table(pl.DataFrame(rows))
