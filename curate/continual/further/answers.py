"""Further answers about the same runs: what to run next, a limited corpus, model size, the published procedure."""

from collections.abc import Sequence
from dataclasses import dataclass

from curate.continual import one_budget
from curate.continual.further import limited_corpus, model_size, next_runs, published_procedure
from curate.continual.further.limited_corpus import LimitedCorpus
from curate.continual.further.model_size import ModelSize
from curate.continual.further.next_runs import NextRuns, NothingToRun
from curate.continual.further.published_procedure import Procedure
from curate.continual.question import Question
from curate.errors import FitError, SchemaError
from curate.pool.pool import Budget
from curate.runs.predictors.predictor import Predictor


@dataclass(frozen=True)
class Extras:
    """Further questions about the same runs; see the arguments of ``cmr``."""

    width: float | None = None
    limited: Budget | None = None
    compute: tuple[float, ...] = ()
    share: float | None = None
    published: bool = False


@dataclass(frozen=True)
class Further:
    """The answers to ``Extras``, each only if it was asked for. ``sizes``: one for each compute."""

    published: Procedure | None = None
    next_runs: NextRuns | NothingToRun | None = None
    limited: LimitedCorpus | None = None
    sizes: tuple[ModelSize, ...] = ()

    def to_json(self, tokens: Sequence[float]) -> dict[str, object]:
        """Return the fields of cmr.json; ``tokens``: of the budgets."""
        record: dict[str, object] = {}
        if self.published is not None:
            record["published"] = self.published.to_json(tokens)
        if self.next_runs is not None:
            record["next_runs"] = self.next_runs.to_json()
        if self.limited is not None:
            record["limited"] = self.limited.to_json()
        if self.sizes:
            record["sizes"] = [size.to_json() for size in self.sizes]
        return record


def answer(
    question: Question, extras: Extras, general: Predictor, domain: Predictor, procedure: Procedure | None
) -> Further:
    """Return the answers to what was asked; ``procedure`` is answered before the fits."""
    return Further(
        published=procedure,
        next_runs=None if extras.width is None else _next_runs(question, general, extras.width),
        limited=None if extras.limited is None else _limited(question, domain, extras.limited),
        sizes=() if extras.share is None else _sizes(question, domain, extras.compute, extras.share),
    )


def _next_runs(question: Question, general: Predictor, width: float) -> NextRuns | NothingToRun:
    """Suggest runs for the ratio at the largest budget and the first tolerance."""
    budget, pool = question.largest_budget, question.continued.pool
    ceiling = question.ceiling(budget, question.tolerances[0])
    # A law of the share alone sees no difference between a short and a long run, so all candidates have one length.
    one_length = one_budget.budget_of(question.continued) is not None
    candidates = [(share, budget.tokens, budget.params) for share in next_runs.SHARES] if one_length else None
    try:
        return next_runs.suggest(
            general,
            question.pools,
            budget,
            ceiling,
            width,
            pool=pool,
            proportions=question.replay,
            candidates=candidates,
        )
    except FitError as error:
        # A ceiling that is not reached is an answer: the ratios of other budgets stand.
        return NothingToRun(width, str(error))


def _limited(question: Question, domain: Predictor, corpus: Budget) -> LimitedCorpus:
    return limited_corpus.best_share(
        domain, corpus, pool=question.continued.pool, pools=question.pools, proportions=question.proportions
    )


def _sizes(question: Question, domain: Predictor, compute: Sequence[float], share: float) -> tuple[ModelSize, ...]:
    """Return the best size for each compute. The other pools keep their proportions, or are even without any."""
    pool = question.continued.pool
    others = [name for name in question.continued.runs.pools if name != pool]
    proportions = question.proportions or dict.fromkeys(others, 1 / len(others))
    total = sum(proportions.values())
    mixture = {pool: share} | {name: (1 - share) * proportions[name] / total for name in others}
    return tuple(model_size.best_size(domain, flops, mixture, pools=question.pools) for flops in compute)


def published(question: Question) -> Procedure:
    """Return the procedure of Gu et al. 2024 on the same runs, at the first tolerance."""
    if question.relative:
        raise SchemaError("the published procedure has an absolute tolerance: leave out relative, or published")
    continued = question.continued
    shares, tokens, general, domain = continued.rectangle()
    start = continued.start(float(continued.runs.recipes().params[0]))
    return published_procedure.procedure(shares, tokens, general, domain, start=start, tolerance=question.tolerances[0])
