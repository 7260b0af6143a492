"""The job `schedule`: mixtures over the course of training, what they repeat, and schedule.json."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from curate.pool import baselines, plan_files
from curate.pool.mixture_rules import MixtureLike, MixtureReader, PlannedMixture, planned_mixtures
from curate.pool.plan_files import PlanSource
from curate.pool.pool import Pool, pools_hash, read_pools, to_json
from curate.schedules.curriculum_record import repeat_warnings
from curate.schedules.curriculum_record import to_json as curriculum_fields
from curate.schedules.methods import METHODS, MethodOptions, WrongOption, check_needs, check_read
from curate.schedules.phases import Curriculum
from curate.storage import artifacts

if TYPE_CHECKING:
    from curate.charts.chart import Chart

SAME = 1e-6  # relative: token counts and mixtures that differ by less are those of the plan
IN_MEMORY = "in memory"  # recorded in the place of a path


@dataclass(frozen=True, repr=False)
class Schedule:
    """Mixtures over the course of training, and what to know about them.

    ``warnings`` are about repeated data and about a plan that the schedule does not follow. ``advice`` says what loss
    weights would cost in place of the shares, or is None. ``steps`` are the training steps, if they were given.
    """

    curriculum: Curriculum
    method: str
    warnings: tuple[str, ...]
    advice: str | None
    steps: int | None
    made_by: Mapping[str, object]

    def __repr__(self) -> str:
        """Return one line: the method, the phases and the tokens."""
        count = len(self.curriculum.phases)
        return (
            f"Schedule({self.method}: {count} phase{'s' * (count > 1)} over {self.curriculum.tokens:.4g} tokens of "
            f"{len(self.curriculum.pools)} pools; {len(self.warnings)} warnings)"
        )

    def _repr_html_(self) -> str:
        """Return the table and the warnings as HTML, for notebooks."""
        notes = "".join(f"<li>{escape(note)}</li>" for note in self.notes)
        return f"<b>{escape(repr(self))}</b>{self.table()._repr_html_()}" + (f"<ul>{notes}</ul>" if notes else "")

    @property
    def notes(self) -> tuple[str, ...]:
        """The advice, if there is one, and the warnings."""
        return (*((self.advice,) if self.advice else ()), *self.warnings)

    def table(self) -> pl.DataFrame:
        """Return a row for every phase and pool: phase, from, to, pool, share, tokens, passes."""
        return self.curriculum.table()

    def chart(self) -> "Chart":
        """Return a chart of the shares over the course of training."""
        from curate.charts import plan_charts

        return plan_charts.phases(self.table())

    def record(self) -> dict[str, object]:
        """Return the content of schedule.json."""
        fields = curriculum_fields(self.curriculum) | {"method": self.method, "advice": self.advice}
        fields |= {"warnings": list(self.warnings), "pools": to_json(self.curriculum.pools)}
        if self.steps:
            fields["steps"] = [list(pair) for pair in self.curriculum.steps(self.steps)]
        return fields | {"made_by": dict(self.made_by)}

    def save(self, path: str | Path) -> None:
        """Write schedule.json, which `curate export` and `curate materialize` read."""
        artifacts.save(Path(path), "schedule", self.record())


def schedule(
    pools: str | Path | Iterable[Pool],
    method: str,
    *,
    tokens: float | None = None,
    params: float | None = None,
    steps: int | None = None,
    tau: float | None = None,
    tau_then: float | None = None,
    switch: float | None = None,
    cap: float | None = None,
    phases: Sequence[tuple[float, MixtureLike]] | None = None,
    main: MixtureLike | None = None,
    anneal: MixtureLike | None = None,
    anneal_fraction: float | None = None,
    total: MixtureLike | None = None,
    late: Mapping[str, float] | None = None,
    parts: int | None = None,
    plan: PlanSource | None = None,
    budget: int | None = None,
) -> Schedule:
    """Return mixtures of ``pools`` over the course of training.

    A mixture is a dictionary of shares by pool, a `MixtureRule`, or the name of a rule, such as "uniform". The methods:

    * temperature: shares proportional to size^(1 / ``tau``); by default 3.33 (mT5).
    * unimax: as even as at most ``cap`` epochs of a pool allow; by default 4.
    * cooldown: temperature ``tau`` (5), and ``tau_then`` (1) after the fraction ``switch`` (0.5) of training.
    * piecewise: ``phases`` of (fraction of training, mixture).
    * ramp: a line from ``main`` to ``anneal`` in ``parts`` constant parts (8).
    * two-stage: ``main``, then ``anneal`` over the last ``anneal_fraction`` (0.1) of training. Two of ``main``,
      ``anneal`` and ``total`` (the mixture of all tokens, or a plan's) give the third. ``late`` says which part of a
      pool's tokens the anneal draws.

    ``tokens`` are training tokens, repeats counted; without them the plan's. ``params`` is the size of the model, to
    warn of repeats that harm it. ``plan`` is a plan.json to take mixtures from and to compare with; ``budget`` chooses
    one of its plans, from 0. ``steps`` are training steps, to say at which the phases begin.

    Raises:
        SchemaError: an unknown method, options that do not fit it, or mixtures that cannot be.
        Infeasible: a stage draws more from a pool than the total has; the message says what would be feasible.
    """
    options = MethodOptions(
        tau,
        tau_then,
        switch,
        cap,
        phases,
        main,
        anneal,
        anneal_fraction,
        total,
        late,
        parts,
    )
    check_read(method, options, has_plan=plan is not None)
    if plan is None and budget is not None:
        raise WrongOption("budget", "it picks one of the plans of --plan")
    if plan is None and tokens is None:
        raise WrongOption("tokens", "give the training tokens" + (" or a --plan" if METHODS[method].reads_plan else ""))
    check_needs(method, options, has_plan=plan is not None)
    all_pools = read_pools(pools)
    plans = planned_mixtures(plan, all_pools) if plan is not None else ()
    reader = MixtureReader(all_pools, plans, budget)
    # Without a count of tokens one plan must be chosen, whose count is taken; with one, a single plan is compared with.
    chosen = reader.chosen or (reader.pick(None) if plans and tokens is None else None)
    length = chosen.budget.tokens if chosen and tokens is None else tokens
    # Checked above: there are tokens, or a plan, of which one is chosen here.
    assert length is not None
    curriculum, notes = METHODS[method].build(options, reader, length)
    if chosen:
        notes += _differences(curriculum, chosen, budget or 0)
    notes += repeat_warnings(curriculum, chosen.budget.params if chosen and params is None else params)
    arguments: dict[str, object] = {"method": method, "tokens": tokens, "params": params, "steps": steps}
    arguments |= _arguments(options) | ({} if budget is None else {"budget": budget})
    made_by = _made_by(arguments, pools, all_pools, plan)
    return Schedule(curriculum, method, notes, baselines.advice(curriculum.variance_factor), steps, made_by)


def _differences(curriculum: Curriculum, plan: PlannedMixture, index: int) -> tuple[str, ...]:
    """Return warnings where the totals of a curriculum are not those of the plan."""
    messages = []
    if abs(curriculum.tokens / plan.budget.tokens - 1) > SAME:
        messages.append(
            f"plan {index} is for {plan.budget.tokens:.4g} tokens, not {curriculum.tokens:.4g}: its passes over the "
            "pools differ"
        )
    if (moved := curriculum.distance(plan.weights)) > SAME:
        messages.append(f"{moved:.3g} of all tokens are drawn from other pools than in plan {index}")
    return tuple(messages)


def _arguments(options: MethodOptions) -> dict[str, object]:
    """Return the options that were set as JSON can hold them, by the names of the flags."""
    arguments = {name.replace("_", "-"): value for name, value in options.present().items()}
    if options.phases:
        # The file has the names of the flags, which earlier versions wrote.
        arguments["phase"] = [[fraction, _written(mixture)] for fraction, mixture in options.phases]
        del arguments["phases"]
    return (
        arguments
        | {name: _written(mixture) for name, mixture in options.mixtures().items() if name in arguments}
        | {name: str(value) for name, value in arguments.items() if value == inf}
    )


def _written(mixture: MixtureLike) -> object:
    return dict(mixture) if isinstance(mixture, Mapping) else str(mixture)


def _made_by(
    arguments: dict[str, object], source: str | Path | Iterable[Pool], pools: Sequence[Pool], plan: PlanSource | None
) -> dict[str, object]:
    """Return the record of what made the schedule; files are inputs, pools and plans in memory are hashed."""
    inputs: list[Path] = []
    tables: dict[str, str] = {}
    if isinstance(source, str | Path):
        inputs.append(Path(source))
    else:
        tables["pools"] = pools_hash(pools)
    arguments["pools"] = str(source) if isinstance(source, str | Path) else IN_MEMORY
    if isinstance(plan, str | Path):
        inputs.append(Path(plan))
        arguments["plan"] = str(plan)
    elif plan is not None:
        tables["plan"] = plan_files.plan_hash(plan)
        arguments["plan"] = IN_MEMORY
    return artifacts.made_by(arguments, inputs, 0, tables)
