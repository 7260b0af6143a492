"""The result of ``curate cmr`` as text for a terminal."""

from collections.abc import Sequence

import polars as pl

from curate.continual import one_budget
from curate.continual.choose_law import ChosenLaw
from curate.continual.critical_ratio import CriticalRatio
from curate.continual.further.limited_corpus import LimitedCorpus
from curate.continual.further.model_size import ModelSize
from curate.continual.further.next_runs import NextRuns
from curate.continual.further.published_procedure import Procedure
from curate.continual.measured import MeasuredBest
from curate.continual.result import CriticalRatios
from curate.continual.token_laws import FEWEST
from pipelines.shared.show import table

SHOWN = 4  # every fourth row of the trade-off is printed
PUBLISHED_CAVEATS = (
    "The published procedure has one law a model size and no term for repeats of the domain; in it the ratio grows "
    "with T, towards 1."
)


def text(result: CriticalRatios) -> str:
    """Return everything that the command prints, in paragraphs."""
    further = result.further
    parts = [*(_comparison(law, result) for law in result.laws), _ratios(result), _measured(result.measured)]
    parts += [_trade_off(result), *_token_laws(result)]
    if further.published is not None:
        parts.append(_published(further.published, result))
    if further.next_runs is not None:
        parts.append(_next_runs(result))
    if further.limited is not None:
        parts.append(_limited(further.limited, result))
    if further.sizes:
        parts.append(_sizes(further.sizes, result))
    parts.append("\n".join(["Keep in mind:", *(f"- {line}" for line in (*result.notes, *result.warnings))]))
    return "\n\n".join(parts)


def _comparison(law: ChosenLaw, result: CriticalRatios) -> str:
    budgets_differ = one_budget.budget_of(result.question.continued) is None
    held_out = "each share in turn and the longest runs" if budgets_differ else "each share in turn except the largest"
    head = f"Error of log loss on loss.{law.fit.eval}, holding out {held_out}. The first law is kept:"
    return f"{head}\n{table(law.rows)}"


def _ratios(result: CriticalRatios) -> str:
    head = (
        f"Critical share of {result.shown.pool}. 90 %: its interval for a new run. gain: domain loss of the start "
        "minus that at this share (nats per token). epochs: passes over unique tokens (0: these never run out)."
    )
    return f"{head}\n{table(pl.DataFrame([_row(ratio) for ratio in result.ratios]))}"


def _row(ratio: CriticalRatio) -> dict[str, object]:
    above = f"above {ratio.examined:.3g}"
    return {
        "tolerance": ratio.tolerance,
        "tokens": f"{ratio.budget.tokens:.3g}",
        "params": f"{ratio.budget.params:.3g}",
        "critical": _share(ratio.share, "none" if ratio.never_under else above),
        "90 %": f"{_share(ratio.low, above)} to {_share(ratio.high, above)}",
        "safe": _share(ratio.safe, "none"),
        "best": _share(ratio.best, "none"),
        "gain": "-" if ratio.gain is None else "{:.3f} ({:.3f} to {:.3f})".format(*ratio.gain),
        "domain epochs": f"{ratio.epochs[ratio.pool]:.3g}",
        "replay epochs": f"{ratio.replay_epochs:.3g}",
    }


def _share(value: float | None, otherwise: str) -> str:
    return otherwise if value is None else f"{value:.3f}"


def _measured(measured: Sequence[MeasuredBest]) -> str:
    rows = [best.to_json() | {"share": _share(best.share, "none")} for best in measured]
    head = "Measured: the share with the lowest domain loss under the ceiling among the longest runs."
    return f"{head}\n{table(pl.DataFrame(rows, infer_schema_length=None))}"


def _trade_off(result: CriticalRatios) -> str:
    shown, shares = result.shown, result.question.continued.shares
    head = (
        f"Trade-off at {shown.budget.tokens:.3g} tokens, ceiling {shown.ceiling:.4f} "
        f"(runs cover shares {shares[0]:.3g} to {shares[-1]:.3g}; others are extrapolated):"
    )
    return f"{head}\n{table(shown.curve[::SHOWN])}"


def _token_laws(result: CriticalRatios) -> list[str]:
    lines = [
        f"tolerance {law.tolerance:g}, {law.params:.3g} parameters: R = {law.a:.4g} T^{law.s:.4g} {law.b:+.4g}"
        for law in result.token_laws
    ]
    if lines:
        return ["\n".join(["Growth of the critical share R with training, T in 0.2e9 tokens:", *lines])]
    if len(result.question.budgets) < FEWEST:
        return []
    return [f"No law in tokens: it needs {FEWEST} budgets of one size that reach the ceiling at the end of a run."]


def _published(procedure: Procedure, result: CriticalRatios) -> str:
    ratio = _share(procedure.ratio, "none")
    head = f"Published procedure at tolerance {procedure.tolerance:g}. Largest feasible share that was run: {ratio}."
    law = "Too few shares turn for a law in tokens."
    if procedure.token_law is not None:
        (scale,), (exponent,) = procedure.token_law.scales, procedure.token_law.exponents
        at_budgets = (
            f"{procedure.critical(budget.tokens):.3f} at {budget.tokens:.3g}" for budget in result.question.budgets
        )
        law = f"R = {scale:.4g} T^{exponent:.4g} {procedure.token_law.floor:+.4g} (T in 0.2e9 tokens): " + ", ".join(
            at_budgets
        )
    return f"{head} {law}\n{table(procedure.table())}\n{PUBLISHED_CAVEATS}"


def _next_runs(result: CriticalRatios) -> str:
    suggestion = result.further.next_runs
    if not isinstance(suggestion, NextRuns):
        return f"What to run next: {suggestion.why}" if suggestion is not None else ""
    question = result.question
    head = (
        f"What to run next: at {question.largest_budget.tokens:.3g} tokens and tolerance {question.tolerances[0]:g} "
        f"the interval of the critical share is {suggestion.present_width:.3f} wide (without run noise, which no run "
        f"narrows); {suggestion.target_width:g} is wanted"
    )
    if not suggestion.runs.height:
        return f"{head}. Nothing more to run."
    verdict = "should be enough" if suggestion.reached else "will probably not be enough"
    cost = f"These runs ({suggestion.flops:.2g} FLOPs) {verdict} (expected width {suggestion.expected_width:.3f}):"
    return f"{head}. {cost}\n{table(suggestion.runs)}"


def _limited(limited: LimitedCorpus, result: CriticalRatios) -> str:
    corpus = limited.budget.tokens * limited.share
    head = (
        f"{corpus:.3g} domain tokens, seen once, are worth most at share {limited.share:.3f} ({limited.low:.3f} to "
        f"{limited.high:.3f}), in {limited.budget.tokens:.3g} tokens in all. Domain loss: {limited.loss:.4f} "
        f"({limited.loss_low:.4f} to {limited.loss_high:.4f})."
    )
    return "\n".join([head, *limited.warnings])


def _sizes(sizes: Sequence[ModelSize], result: CriticalRatios) -> str:
    head = "Model size and tokens with the lowest domain loss, at a fixed share of the domain:"
    warnings = [f"at {size.budget.flops:.3g} FLOPs: {warning}" for size in sizes for warning in size.warnings]
    return "\n".join([head, table(pl.DataFrame([size.to_json() for size in sizes])), *warnings])
