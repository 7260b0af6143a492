"""The answer of ``curate cmr``: what is asked, the critical ratios as a part of cmr.json, and what is said of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from curate.continual import critical_ratio
from curate.continual.choose_law import Chosen
from curate.continual.critical_ratio import CriticalRatio
from curate.fitting.power_sums import fit_powers
from curate.laws.cmr import UNIT
from curate.pool.pool import Budget, Pool
from curate.runs.continued_runs import Continued
from curate.runs.predictor import Predictor
from pipelines.shared.show import table

FEWEST = 4  # budgets that a law in tokens with three parameters is fitted to
LIMITS = (
    "loss only: no downstream metric is in it",
    "a ratio holds for its budget: Gu et al. find that longer training lets more domain data in, other runs need not",
    "sizes and repeats count only as far as the chosen law knows them and the runs varied them",
)


@dataclass(frozen=True)
class Question:
    """What is asked of which runs; checked before anything is fitted."""

    found: Continued
    budgets: Sequence[Budget]
    pools: Sequence[Pool]
    rest: Mapping[str, float] | str | None
    tolerances: Sequence[float]
    relative: bool
    largest: float | None

    def __post_init__(self) -> None:
        """Check that every budget has a start and every tolerance is one."""
        for budget in self.budgets:
            for tolerance in self.tolerances:
                self.ceiling(budget, tolerance)

    def ceiling(self, budget: Budget, tolerance: float) -> float:
        """Return the ceiling of general loss of the model that is continued."""
        return critical_ratio.ceiling_of(self.found.start(budget.params)[0], tolerance, relative=self.relative)

    @property
    def runs_to(self) -> float:
        """Tokens of the longest run."""
        return float(self.found.runs.recipes().tokens.max())

    @property
    def longest(self) -> Budget:
        """The budget with the most compute."""
        return max(self.budgets, key=lambda one: one.flops)


def critical(asked: Question, general: Predictor, domain: Predictor) -> tuple[dict[str, object], list[str]]:
    """Return critical ratios of all tolerances and budgets, the trade-off at the longest, and laws in tokens."""
    rows, notes, laws, records = [], [], [], []
    by_checkpoints = any("checkpoints=true" in getattr(one, "spec", "") for one in (general, domain))
    midway = [one for one in asked.budgets if by_checkpoints and one.tokens < asked.runs_to]
    for tolerance in asked.tolerances:
        notes += _noise(asked, general, tolerance)
        ratios = [
            critical_ratio.critical_ratio(
                general, domain, asked.pools, budget, asked.ceiling(budget, tolerance),
                pool=asked.found.pool, start=asked.found.start(budget.params)[1], proportions=asked.rest,
                largest=asked.largest,
            )
            for budget in asked.budgets
        ]  # fmt: skip
        rows += [_row(one, tolerance) for one in ratios]
        notes += [
            f"{one.budget.tokens:.3g} tokens, tolerance {tolerance:g}: {said}" for one in ratios for said in _said(one)
        ]
        records += [{"tolerance": tolerance, **one} for one in critical_ratio.to_json(ratios)]
        laws += _token_laws([one for one in ratios if one.budget not in midway], tolerance)
    notes += [
        f"{one.tokens:.3g} tokens: a checkpoint in the middle of a run of {asked.runs_to:.3g}, its learning rate still "
        "up; a run that ends there loses less"
        for one in midway
    ]
    shown = next(one for one in ratios if one.budget == asked.longest)
    head = (
        "critical share of the domain's pool; gain: domain loss of the start minus that there (nats per token); 90 %: "
        "of a new run; epochs: 0 where unique tokens are not limited"
    )
    words = "\n".join([head, table(pl.DataFrame(rows)), *dict.fromkeys(notes)])
    ran = asked.found.shares
    curve = (
        f"trade-off at {shown.budget.tokens:.3g} tokens, ceiling {shown.ceiling:.4f} (shares {ran[0]:.3g} to "
        f"{ran[-1]:.3g} were run; others are extrapolated):\n{table(shown.curve[::4])}"
    )
    grown = [f"tolerance {x['tolerance']:g}, {x['params']:.3g} parameters: R = {x['a']:.4g} T^{x['s']:.4g} "
             f"{x['b']:+.4g}, T in 0.2e9 tokens" for x in laws]  # fmt: skip
    if not laws and len(asked.budgets) >= FEWEST:
        grown = [f"no law in tokens: it needs {FEWEST} budgets of one size that reach the ceiling at the end of a run"]
    said = [words, curve, *(["\n".join(grown)] if grown else []), "limits: " + "; ".join(LIMITS)]
    return {"ratios": records, "token_laws": laws}, said


def compared(laws: Sequence[Chosen]) -> str:
    """Return the held-out comparisons of the laws."""
    head = "held-out error of log loss on loss.{}; each share in turn and the longest runs were left out:"
    return "\n\n".join(f"{head.format(one.fit.eval)}\n{table(one.rows)}" for one in laws)


def _noise(asked: Question, general: Predictor, tolerance: float) -> list[str]:
    start = asked.found.start(asked.budgets[0].params)[0]
    noise, allowed = general.noise * start, tolerance * (start if asked.relative else 1.0)
    if allowed >= noise:
        return []
    return [
        f"tolerance {tolerance:g} ({allowed:.4f} nats) is below the noise of a run's general loss, {noise:.4f} nats: "
        "read the interval, not the point"
    ]


def _row(one: CriticalRatio, tolerance: float) -> dict[str, object]:
    above = f"above {one.examined:.3g}"
    gain = "-" if one.gain is None else "{:.3f} ({:.3f} to {:.3f})".format(*one.gain)
    return {
        "tolerance": tolerance,
        "tokens": f"{one.budget.tokens:.3g}",
        "params": f"{one.budget.params:.3g}",
        "critical": share_text(one.share, "none" if one.note.startswith("already over") else above),
        "90 %": f"{share_text(one.low, above)} to {share_text(one.high, above)}",
        "safe": share_text(one.safe, "none"),
        "best": share_text(one.best, "none"),
        "gain": gain,
        "domain epochs": f"{one.epochs[one.pool]:.3g}",
        "replay epochs": f"{max(x for name, x in one.epochs.items() if name != one.pool):.3g}",
    }


def share_text(value: float | None, otherwise: str) -> str:
    """Return a share with three decimals, or ``otherwise`` where there is none."""
    return otherwise if value is None else f"{value:.3f}"


def _said(one: CriticalRatio) -> list[str]:
    plain = one.note.startswith("reached") and ";" not in one.note
    said = [] if plain else [one.note]
    if one.best is not None and one.best < one.at - 1e-6:
        said.append(f"the domain is best at {one.best:.3f}, below the critical share")
    return [*said, *one.limits]


def _token_laws(ratios: Sequence[CriticalRatio], tolerance: float) -> list[dict[str, float]]:
    """Return R = a T^s + b through the critical ratios of each size with enough budgets."""
    found = []
    for params in sorted({one.budget.params for one in ratios}):
        mine = [one for one in ratios if one.budget.params == params and one.share is not None]
        if len({one.budget.tokens for one in mine}) < FEWEST:
            continue
        law = fit_powers(
            np.array([one.budget.tokens / UNIT for one in mine]),
            np.array([one.share for one in mine], dtype=np.float64),
        )
        (a,), (s,) = law.scales, law.exponents
        found.append({"tolerance": tolerance, "params": params, "a": a, "s": s, "b": law.floor})
    return found
