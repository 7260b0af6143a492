"""What to mind about critical ratios: noise, extrapolation, repeats, and checkpoints that are no ends of runs."""

from collections.abc import Sequence

from curate.continual import one_budget
from curate.continual.critical_ratio import CriticalRatio
from curate.continual.question import Question
from curate.pool.pool import Budget
from curate.runs.predictors.predictor import Predictor

WIDE = 0.5  # of the range of examined shares: an interval wider than half of it does not determine the critical share


def warnings(question: Question, ratios: Sequence[CriticalRatio], fits: Sequence[Predictor]) -> tuple[str, ...]:
    """Return what to mind about the ratios, each line once."""
    only = one_budget.budget_of(question.continued)
    lines = [] if only is None else [one_budget.warning(only)]
    for tolerance in question.tolerances:
        lines += _noise_warning(question, fits[0], tolerance)
        for ratio in (ratio for ratio in ratios if ratio.tolerance == tolerance):
            where = f"{ratio.budget.tokens:.3g} tokens, tolerance {tolerance:g}"
            lines += [f"{where}: {warning}" for warning in _ratio_warnings(ratio)]
    # Laws over several budgets have more parameters, so the shares at one budget may determine what all of them do not.
    if only is None and any(_is_wide(ratio) for ratio in ratios) and (advice := one_budget.advice(question.continued)):
        lines.append(f"to learn more from these runs, {advice}")
    lines += [
        f"{budget.tokens:.3g} tokens: this is a checkpoint within a run of {question.longest_run:.3g} tokens, before "
        "its learning rate has decayed; a run that ends there has a lower loss"
        for budget in within_runs(question, fits)
    ]
    return tuple(dict.fromkeys(lines))


def _ratio_warnings(ratio: CriticalRatio) -> list[str]:
    plain = ratio.note.startswith("reached") and ";" not in ratio.note
    warnings = [] if plain else [ratio.note]
    if ratio.best is not None and ratio.best < ratio.reference_share - 1e-6:
        warnings.append(f"domain loss is lowest at share {ratio.best:.3f}, below the critical share")
    if _is_wide(ratio):
        low, high = _ends(ratio)
        above = " or above" if ratio.high is None else ""
        warnings.append(
            f"the runs do not determine the critical share: its 90 % interval is {low:.3g} to {high:.3g}{above}. Run "
            "shares inside this interval, or several seeds"
        )
    return [*warnings, *ratio.warnings]


def _ends(ratio: CriticalRatio) -> tuple[float, float]:
    """Return the ends of the interval; one that was not reached is the largest examined share."""
    low, high = (ratio.examined if end is None else end for end in (ratio.low, ratio.high))
    return low, high


def _is_wide(ratio: CriticalRatio) -> bool:
    low, high = _ends(ratio)
    return high - low > WIDE * ratio.examined


def _noise_warning(question: Question, general: Predictor, tolerance: float) -> list[str]:
    start = question.continued.start(question.budgets[0].params)[0]
    noise, allowed = general.noise * start, tolerance * (start if question.relative else 1.0)
    if allowed >= noise:
        return []
    return [
        f"tolerance {tolerance:g} ({allowed:.4f} nats) is below the noise of a run's general loss, {noise:.4f} nats: "
        "read the interval, not the point"
    ]


def within_runs(question: Question, fits: Sequence[Predictor]) -> list[Budget]:
    """Return the budgets at which laws of checkpoints describe the middle of a run, not its end."""
    by_checkpoints = any("checkpoints=true" in getattr(fit, "spec", "") for fit in fits)
    return [budget for budget in question.budgets if by_checkpoints and budget.tokens < question.longest_run]
