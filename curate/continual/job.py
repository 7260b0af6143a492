"""Find critical mixture ratios in a table of runs that continue one model."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from curate.continual import choose_law, measured, one_budget, ratio_warnings
from curate.continual.choose_law import ChosenLaw
from curate.continual.critical_ratio import CriticalRatio, critical_ratio
from curate.continual.further import answers
from curate.continual.further.answers import Extras
from curate.continual.question import Question
from curate.continual.result import CriticalRatios
from curate.continual.token_laws import TokenLaw, token_laws
from curate.errors import FitError, SchemaError
from curate.fitting import run_checks
from curate.fitting.fit import FitOptions
from curate.pool.pool import Budget, Pool, read_pools
from curate.progress import counted
from curate.runs import continued_runs, run_table
from curate.runs.continued_runs import Continued
from curate.runs.predictors.predictor import Predictor
from curate.runs.sources import column_map, read_tables
from curate.runs.sources.column_map import WrittenMap
from curate.runs.sources.read_tables import Tables
from curate.storage import artifacts
from curate.storage.arguments import as_json

# Each of these laws was the best one on some of the run tables in benchmarks/continual/cmr.py. Runs of one budget have
# other laws (`one_budget`).
LAWS = ("replay", "replay:checkpoints=true", "dcpt:repeats=true")
LENGTHS = (0.25, 0.5, 1.0, 2.0, 4.0)  # default budgets, as multiples of the longest run


def cmr(
    runs: Tables,
    *,
    general: str,
    domain: str,
    pool: str,
    tolerance: float | Sequence[float],
    relative: bool = False,
    budgets: Sequence[Budget] | None = None,
    pools: Path | str | Sequence[Pool] | None = None,
    replay: Mapping[str, float] | str | None = None,
    start_loss: Mapping[str, float] | None = None,
    laws: Sequence[str] | None = None,
    largest: float | None = None,
    width: float | None = None,
    limited: Budget | None = None,
    compute: Sequence[float] = (),
    share: float | None = None,
    published: bool = False,
    where: str | None = None,
    starts: int = 16,
    draws: int = 200,
    seed: int = 0,
    arguments: Mapping[str, object] | None = None,
    map: WrittenMap = None,
    source: str | None = None,
) -> CriticalRatios:
    """Find the largest share of a domain that keeps general loss under a ceiling, for every budget and tolerance.

    The runs continue one model with mixtures of general data and of the domain. Laws of general and of domain loss are
    fitted to them; the laws that best predict shares and lengths that they did not see are kept.

    Args:
        runs: A run table (a path, or a table in memory): one row a run or checkpoint, and for each model size a start
            row with tokens = 0 that holds the losses before training.
        general: Evals or patterns such as ``Pile*``, comma-separated. The mean of their losses is the general loss.
        domain: The eval whose loss is the domain's.
        pool: The domain's pool; its column ``weight.<pool>`` is the share.
        tolerance: How far general loss may rise over that of the start, in nats per token; one number or several.
        relative: Read tolerances as shares of the start's loss.
        budgets: Tokens and parameters; by default 1/4 to 4 times the longest run, at the largest size with a start.
            If all runs have one budget, only that budget can be given.
        pools: Unique tokens: pools.json or pools. By default the largest ``unique.<pool>`` of the run table.
        replay: Proportions of the other pools by name, or "best" for the lowest general loss. By default those of the
            runs if these are all alike, else by size.
        start_loss: ``EVAL`` or ``EVAL@PARAMS`` to a loss before training, in the place of a start row.
        laws: Names of laws to compare, with options. By default ``LAWS``, or ``one_budget.LAWS`` if all runs have the
            same tokens and size.
        largest: The largest share to examine; by default the largest that was run.
        width: Suggest runs that would narrow the interval of the ratio to this width.
        limited: Unique domain tokens and parameters: find the best share of a corpus that is seen once.
        compute: FLOPs: find the best model size for each, with the domain's share fixed at ``share``.
        published: Run the procedure of Gu et al. 2024 (arXiv 2407.17467) as well.
        where: Use only rows where this SQL condition holds.
        starts: Starting points of each fit.
        draws: Bootstrap refits.
        seed: Every random choice follows from it.
        arguments: What ``made_by`` records in the place of these arguments; the command line records its flags.
        map: SQL expressions that compute columns of the run table from other columns, by name; or a TOML file of them.
        source: The program that wrote the table: ``wandb``, ``regmix`` or ``swarm``. None: it is a run table.

    Raises:
        SchemaError: if the table, a name or a number is not as described, with what to change.
        FitError: if there are too few runs for a law.
    """
    # First, while the parameters are the only local names.
    recorded = arguments or as_json({k: v for k, v in locals().items() if k not in ("arguments", "seed")})
    columns = column_map.parse(map)
    recorded = {k: v for k, v in recorded.items() if k != "source"} | read_tables.how_read(columns, source)
    extras = Extras(width, limited, tuple(compute), share, published)
    if bool(extras.compute) != (share is not None):
        raise SchemaError("compute and share go together: give both, for example compute=[1e20], share=0.3")
    table = run_table.read(runs, where=where, map=columns.expressions, source=source)
    continued = continued_runs.split(table, general=general, domain=domain, pool=pool, start_loss=start_loss)
    notes = (*continued.runs.notes, *run_checks.check(continued.runs))
    only = one_budget.budget_of(continued)
    # Of runs of one budget the ratios carry a warning of their own.
    notes += run_checks.unvaried(continued.runs) if only is None else ()
    question = Question(
        continued,
        budgets=_budgets(continued, only) if budgets is None else tuple(budgets),
        pools=_pools(pools, continued),
        replay=continued.proportions() if replay is None else replay,
        tolerances=(tolerance,) if isinstance(tolerance, int | float) else tuple(tolerance),
        relative=relative,
        largest=largest,
    )
    if only is not None:
        one_budget.check(question, only, limited=limited is not None)
    # Before the fits, which take minutes: its tables are checked on the way.
    procedure = answers.published(question) if published else None
    options = FitOptions(starts=starts, draws=draws, seed=seed)
    chosen = _laws(continued, laws, options)
    fits = (chosen[0].fit, chosen[1].fit)
    ratios = _ratios(question, *chosen)
    return CriticalRatios(
        question=question,
        laws=chosen,
        ratios=ratios,
        measured=measured.measured_best(question),
        token_laws=_token_laws(question, ratios, fits),
        further=answers.answer(question, extras, *fits, procedure),
        ratio_warnings=ratio_warnings.warnings(question, ratios, fits),
        notes=notes,
        made_by=_made_by(recorded, runs, pools, seed),
    )


def _budgets(continued: Continued, only: Budget | None) -> tuple[Budget, ...]:
    """Return ``only`` if given, else LENGTHS times the longest run, at the largest size with a start."""
    if only is not None:
        return (only,)
    longest = float(continued.runs.recipes().tokens.max())
    return tuple(Budget(length * longest, max(continued.starts)) for length in LENGTHS)


def _pools(pools: Path | str | Sequence[Pool] | None, continued: Continued) -> tuple[Pool, ...]:
    if pools is None:
        return continued.pools()
    return read_pools(pools)


def _laws(continued: Continued, specs: Sequence[str] | None, options: FitOptions) -> tuple[ChosenLaw, ChosenLaw]:
    """Return the best laws of general and of domain loss."""
    several = one_budget.budget_of(continued) is None
    compared = (LAWS if several else one_budget.LAWS) if specs is None else specs
    rival = 0.0 if several else one_budget.RIVAL

    def best(name: str, *, rest: bool) -> ChosenLaw:
        completed = choose_law.complete_specs(compared, continued, rest=rest)
        return choose_law.choose(completed, continued, name, options=options, rival=rival)

    try:
        return best(continued.general, rest=True), best(continued.domain, rest=False)
    except FitError as error:
        # Laws over several lengths have more parameters than the laws of one length.
        advice = one_budget.advice(continued) if several else ""
        raise FitError(f"{error}{'. Or ' * bool(advice)}{advice}") from None


def _ratios(question: Question, general: ChosenLaw, domain: ChosenLaw) -> tuple[CriticalRatio, ...]:
    """Return critical ratios by tolerance, then by budget."""
    ratios = []
    for tolerance in question.tolerances:
        for budget in counted(question.budgets, "budgets answered", len(question.budgets)):
            ratio, *rivals = (
                _ratio(question, fit, domain.fit, budget, tolerance) for fit in (general.fit, *general.rivals)
            )
            ratios.append(one_budget.widened(ratio, rivals))
    return tuple(ratios)


def _ratio(
    question: Question, general: Predictor, domain: Predictor, budget: Budget, tolerance: float
) -> CriticalRatio:
    """Return the critical ratio at one budget and tolerance, from one law of the general loss."""
    ratio = critical_ratio(
        general,
        domain,
        question.pools,
        budget,
        question.ceiling(budget, tolerance),
        pool=question.continued.pool,
        start=question.continued.start(budget.params)[1],
        proportions=question.replay,
        largest=question.largest,
    )
    return replace(ratio, tolerance=tolerance)


def _token_laws(question: Question, ratios: Sequence[CriticalRatio], fits: Sequence[Predictor]) -> tuple[TokenLaw, ...]:
    """Return laws in tokens of the ratios at the end of a run."""
    excluded = ratio_warnings.within_runs(question, fits)
    laws = []
    for tolerance in question.tolerances:
        of_ends = [ratio for ratio in ratios if ratio.tolerance == tolerance and ratio.budget not in excluded]
        laws += token_laws(of_ends, tolerance)
    return tuple(laws)


def _made_by(
    arguments: Mapping[str, object], runs: Tables, pools: Path | str | Sequence[Pool] | None, seed: int
) -> dict[str, object]:
    tables = read_tables.recorded(runs)
    files = [*tables.files, *([Path(pools)] if isinstance(pools, str | Path) else [])]
    return artifacts.made_by(arguments, files, seed, tables.hashes)
