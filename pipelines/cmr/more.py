"""Further answers of ``curate cmr``: what to run next, limited corpora, model size, the published procedure."""

from collections.abc import Mapping, Sequence

import polars as pl

from curate.continual import dcpt_uses, next_runs, published_procedure
from curate.errors import FitError, SchemaError
from curate.pool.pool import Budget
from curate.runs.predictor import Predictor
from pipelines.cmr.answers import Question, share_text
from pipelines.shared.show import table

Answer = tuple[dict[str, object], str]  # a part of cmr.json, and what is said of it

PUBLISHED_LIMITS = (
    "loss only; one law a model size (no size term); larger T pushes the ratio up, towards 1; no repeats of the domain"
)


def advised(asked: Question, general: Predictor, width: float) -> Answer:
    """Return what to run so that the longest budget's ratio, at the first tolerance, is known within ``width``."""
    budget = asked.longest
    try:
        found = next_runs.advise(
            general, asked.pools, budget, asked.ceiling(budget, asked.tolerances[0]), width,
            pool=asked.found.pool, proportions=asked.rest,
        )  # fmt: skip
    except FitError as error:  # "not reached" is an answer, and the ratios of other budgets stand
        return {"next_runs": {"asked": width, "why": str(error)}}, f"what to run next: {error}"
    record = {"now": found.now, "expected": found.expected, "asked": found.asked, "runs": found.runs.to_dicts()}
    what = (
        f"at {budget.tokens:.3g} tokens, tolerance {asked.tolerances[0]:g}, the runs leave the critical share open by "
        f"{found.now:.3f} (run noise apart, which no run narrows), asked {width:g}"
    )
    if not found.runs.height:
        return {"next_runs": record}, f"{what}: nothing to run"
    told = "are expected to be enough" if found.reached else "are not expected to be enough"
    head = f"{what}; these runs ({found.flops:.2g} FLOPs) {told} (width {found.expected:.3f}):"
    return {"next_runs": record}, f"{head}\n{table(found.runs)}"


def limited(asked: Question, domain: Predictor, given: Budget) -> Answer:
    """Return the best share of ``given.tokens`` of domain data that is seen once."""
    rest = None if isinstance(asked.rest, str) else asked.rest
    found = dcpt_uses.limited(
        domain, given.tokens, given.params, pool=asked.found.pool, pools=asked.pools, proportions=rest
    )
    record = {"share": found.share, "low": found.low, "high": found.high, "tokens": found.budget.tokens,
              "params": given.params, "loss": found.loss, "loss_low": found.loss_low, "loss_high": found.loss_high,
              "limits": list(found.limits), "curve": found.curve.to_dicts()}  # fmt: skip
    said = (
        f"{given.tokens:.3g} domain tokens seen once are worth most at share {found.share:.3f} ({found.low:.3f} to "
        f"{found.high:.3f}), {found.budget.tokens:.3g} tokens in all: domain loss {found.loss:.4f} "
        f"({found.loss_low:.4f} to {found.loss_high:.4f})"
    )
    return {"limited": record}, "\n".join([said, *found.limits])


def sizes(asked: Question, domain: Predictor, flops: Sequence[float], share: float) -> Answer:
    """Return size and tokens with the lowest domain loss at each compute, the domain's share fixed."""
    names = [name for name in asked.found.runs.pools if name != asked.found.pool]
    rest = asked.rest if isinstance(asked.rest, Mapping) else dict.fromkeys(names, 1 / len(names))
    total = sum(rest.values())
    mixture = {asked.found.pool: share} | {name: (1 - share) * rest[name] / total for name in names}
    found = [dcpt_uses.allocate(domain, one, mixture, pools=asked.pools) for one in flops]
    rows = [
        {
            "flops": one.budget.flops, "params": one.budget.params, "params_low": one.params_low,
            "params_high": one.params_high, "tokens": one.budget.tokens, "loss": one.loss, "low": one.low,
            "high": one.high,
        }
        for one in found
    ]  # fmt: skip
    notes = [f"at {one.budget.flops:.3g} FLOPs: {note}" for one in found for note in one.limits]
    head = f"size and tokens with the lowest domain loss at share {share:g}:"
    return {"sizes": rows}, "\n".join([head, table(pl.DataFrame(rows)), *notes])


def published(asked: Question) -> Answer:
    """Return the procedure of Gu et al. 2024 on the same runs, at the first tolerance."""
    if asked.relative:
        raise SchemaError("the published procedure has an absolute tolerance: leave out --relative, or --published")
    shares, tokens, general, domain = asked.found.rectangle()
    start = asked.found.start(float(asked.found.runs.recipes().params[0]))
    found = published_procedure.procedure(shares, tokens, general, domain, start=start, tolerance=asked.tolerances[0])
    law = found.token_law
    at = {f"{one.tokens:g}": found.critical(one.tokens) for one in asked.budgets}
    record = {
        "tolerance": found.tolerance,
        "feasible": found.shares[found.feasible].tolist(),
        "turning": [x if x < float("inf") else None for x in found.turning.tolist()],
        "token_law": None if law is None else {"a": law.scales[0], "s": law.exponents[0], "b": law.floor},
        "critical": at,
    }
    said = "too few shares turn for a law in tokens"
    if law is not None:
        said = f"R = {law.scales[0]:.4g} T^{law.exponents[0]:.4g} {law.floor:+.4g} (T in 0.2e9 tokens)"
        said += ": " + ", ".join(f"{x:.3f} at {float(t):.3g}" for t, x in at.items() if x is not None)
    ran = share_text(found.ratio, "none")
    head = f"published procedure, tolerance {found.tolerance:g}: largest feasible share run {ran}"
    return {"published": record}, f"{head}; {said}\n{table(found.table())}\nlimits: {PUBLISHED_LIMITS}"
