"""Write plans as text: one line a budget, then how far shares may move, where pools enter, and the warnings.

In: `Plans`-like parts. Out: lines of text, without colours, for a terminal of any width.
"""

import re
from collections.abc import Iterator, Mapping, Sequence

from curate.errors import first_few
from curate.planning.details.answers import EvalFront, KeepAdvice, ShareIntervals
from curate.planning.details.crossings import PoolCrossing
from curate.planning.plan import Plan

SMALLEST_SHOWN = 5e-4  # shares below it are shown as "-"
POSSIBLE = 0.01  # a pool without a share is listed too if its share could be this large
FAR = 2.0  # times beyond the runs from which extrapolation gets a line of its own, before all others
MOST_COLUMNS = 12  # with more pools than this, shares are written in one column

EXPLANATION = (
    "Share of training tokens by pool, and in brackets the passes over the pool. Loss and gain over each baseline are "
    "in nats per token. 90 % intervals: of the loss of a new run, and of the difference between two new runs."
)

FREEDOM = (
    "How far each share may move: among mixtures that lose at most so many nats, and in 90 % of the plans that "
    "bootstrap draws would make."
)


def explanation(plans: Sequence[Plan]) -> str:
    """Return the words above the table of plans."""
    metric = plans[0].metric if plans else None
    if metric is None:
        return EXPLANATION
    return (
        f"{EXPLANATION} metric.{metric.name} is in its own unit; {metric.better} is better. A gain above 0 "
        "means that the plan is better."
    )


def plans_table(plans: Sequence[Plan]) -> str:
    """Return the plans as a table with one line a budget."""
    return aligned([_plan_row(plan) for plan in plans])


def _plan_row(plan: Plan) -> dict[str, str]:
    row = {"tokens": f"{plan.budget.tokens:.2g}", "params": f"{plan.budget.params:.2g}"}
    shares = {
        name: f"{share:.3f} ({plan.epochs[name]:.2g}x)"
        for name, share in plan.weights.items()
        if share >= SMALLEST_SHOWN
    }
    if len(plan.weights) > MOST_COLUMNS:
        # A table with a column a pool would be wider than any terminal.
        largest_first = sorted(shares, key=lambda name: -plan.weights[name])
        row["pools"] = first_few(f"{name} {shares[name]}" for name in largest_first)
    else:
        row |= {name: shares.get(name, "-") for name in plan.weights}
    row |= {"loss": f"{plan.loss:.4f}", "90 %": f"{plan.low:.3f} to {plan.high:.3f}"}
    row |= {f"over {name}": f"{gain:.3f} ({low:.3f} to {high:.3f})" for name, (gain, low, high) in plan.gains.items()}
    if (metric := plan.metric) is not None:
        row |= {metric.name: f"{metric.value:.4g}", f"{metric.name} 90 %": f"{metric.low:.4g} to {metric.high:.4g}"}
        gain, low, high = metric.gain
        row[f"{metric.name} over proportional"] = f"{gain:.3g} ({low:.3g} to {high:.3g})"
    if plan.cost is not None:
        row["cost"] = f"{plan.cost:.4g}"
    return row


def intervals_table(plans: Sequence[Plan], intervals: Sequence[ShareIntervals]) -> str:
    """Return how far shares may move as a table with one line a budget and pool."""
    rows = []
    for plan, interval in zip(plans, intervals, strict=True):
        columns = {f"within {interval.within} nats": interval.near_optimal, "over the draws": interval.over_draws}
        for pool, share in plan.weights.items():
            row = {"tokens": f"{plan.budget.tokens:.2g}", "pool": pool, "share": f"{share:.3f}"}
            largest = share
            for title, ends in columns.items():
                if ends is not None:
                    row[title] = f"{ends[pool][0]:.3f} to {ends[pool][1]:.3f}"
                    largest = max(largest, ends[pool][1])
            if share >= SMALLEST_SHOWN or largest >= POSSIBLE:
                rows.append(row)
    return aligned(rows)


def crossing_lines(crossings: Sequence[PoolCrossing]) -> list[str]:
    """Return one line for each pool that enters or leaves."""
    return [str(crossing) for crossing in crossings] or ["No pool enters or leaves between these budgets."]


def keep_lines(advice: KeepAdvice) -> list[str]:
    """Return one line a budget with the bins to keep, one for each change, and lines on whether scoring pays."""
    lines = [
        f"at {row['tokens']:.2g} tokens the best {row['bins']} bins, {row['kept']:.0%} of the unique tokens "
        f"(best in {row['votes']:.0%} of the draws)"
        for row in advice.curve.table().iter_rows(named=True)
        if row["chosen"]
    ]
    lines += [str(change) for change in advice.changes or ()]
    lines += [str(entry) for entry in advice.scoring]
    if advice.paying is not None:
        lines.append(str(advice.paying))
    return lines


def front_table(front: EvalFront) -> str:
    """Return a Pareto front as a table with one line a mixture: both losses, then the shares."""
    rows = []
    for plan in front.plans:
        row = {f"loss {name}": f"{loss:.4f}" for name, (loss, _, _) in plan.evals.items()}
        row |= {name: f"{w:.3f}" if w >= SMALLEST_SHOWN else "-" for name, w in plan.weights.items()}
        rows.append(row)
    return aligned(rows)


def warning_lines(plans: Sequence[Plan]) -> Iterator[str]:
    """Yield a line on far extrapolation, if any, then the warnings of each budget."""
    # The factor is read out of the warning, which is the only place that has it.
    far = [
        (float(times[1]), warning)
        for plan in plans
        for warning in plan.warnings
        if (times := re.search(r" is ([\d.e+]+)x", warning))
    ]
    if far and max(far)[0] >= FAR:
        factor, warning = max(far)
        yield (
            f"EXTRAPOLATED up to {factor:.3g}-fold: {warning.removeprefix('extrapolated: ')}. The interval of the loss "
            "widens with size and tokens, but it cannot cover a law that stops holding: run pilots nearer to this "
            "budget."
        )
    if any(plan.warnings for plan in plans):
        yield ""
        yield "Limits that shaped this plan, and warnings:"
    for plan in plans:
        if plan.warnings:
            yield f"at {plan.budget.tokens:.2g} tokens: {first_few(plan.warnings, separator='; ')}"


def aligned(rows: Sequence[Mapping[str, str]]) -> str:
    """Return rows of text as a table whose columns line up. A row may lack columns, which are then shown as "-"."""
    titles = list(dict.fromkeys(title for row in rows for title in row))
    cells = [titles, *([row.get(title, "-") for title in titles] for row in rows)]
    widths = [max(len(cell) for cell in column) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells
    )
