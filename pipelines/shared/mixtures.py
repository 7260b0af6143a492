"""Mixtures as they are written on a command line: by rule, as shares, or an entry of plan.json."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import typer

if TYPE_CHECKING:
    from curate.pool.pool import Budget, Pool

FORMS = "proportional, uniform, tau=NUMBER, unimax[=CAP], plan[=INDEX] or POOL=SHARE,POOL=SHARE..."


class Entry(NamedTuple):
    """One plan of plan.json: its budget and its shares."""

    budget: "Budget"
    weights: Mapping[str, float]


def entries(path: Path, pools: "Sequence[Pool]") -> list[Entry]:
    """Read the plans of plan.json, which must be over these pools or some of them."""
    from curate.errors import SchemaError
    from curate.pool import baselines
    from curate.pool.pool import Budget
    from curate.storage import artifacts

    record = artifacts.load(path, "plan")
    try:
        found = [
            Entry(Budget(float(plan["budget"]["tokens"]), float(plan["budget"]["params"])), dict(plan["weights"]))
            for plan in record["plans"]  # type: ignore[attr-defined]
        ]
        found = [
            one._replace(weights=baselines.mixture(pools, one.weights, where=f"plan {i} of {path}"))
            for i, one in enumerate(found)
        ]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise SchemaError(f"{path} is not a plan.json ({type(error).__name__}: {error}); see `curate plan`") from None
    if not found:
        raise SchemaError(f"{path} has no plans: make some with `curate plan`")
    return found


class Reader(NamedTuple):
    """What a written mixture may refer to: the pools, and plans of which ``index`` is meant where none is named."""

    pools: "Sequence[Pool]"
    plans: Sequence[Entry] = ()
    index: int | None = None

    @property
    def chosen(self) -> Entry | None:
        """The plan that is meant where none is named; None where there are no plans, or several and no index."""
        if not self.plans or (self.index is None and len(self.plans) > 1):
            return None
        return self.pick(self.index or 0)

    def pick(self, index: int | None) -> Entry:
        """Return one plan by its place, from 0."""
        from curate.errors import SchemaError

        if index is not None and 0 <= index < len(self.plans):
            return self.plans[index]
        budgets = "; ".join(f"{i} is {one.budget.tokens:.4g} tokens" for i, one in enumerate(self.plans))
        said = "has several plans" if index is None else f"has no plan {index}"
        raise SchemaError(f"plan.json {said}: choose one with --budget, where {budgets}")

    def read(self, text: str, tokens: float, flag: str) -> dict[str, float]:
        """Return shares of all pools. ``tokens`` are those of the stretch, which the cap of UniMax is for."""
        from curate.pool import baselines

        rule, _, value = text.partition("=")
        if rule in ("proportional", "uniform") and not value:
            return baselines.named(self.pools, baselines.fixed(self.pools)[rule])
        if rule == "tau" and "," not in text:
            return baselines.named(self.pools, baselines.temperature(self.pools, _number(value, text, flag)))
        if rule == "unimax" and "," not in text:
            cap = _number(value, text, flag) if "=" in text else baselines.UNIMAX_EPOCHS
            return baselines.named(self.pools, baselines.unimax(self.pools, tokens, cap))
        if rule == "plan" and "," not in text:
            if not self.plans:
                raise typer.BadParameter(f"{text!r} needs --plan", param_hint=flag)
            if "=" in text and not value.isdecimal():
                raise typer.BadParameter(f"{text!r}: an index counts plans from 0", param_hint=flag)
            one = self.pick(int(value)) if value else self.chosen or self.pick(None)
            return dict(one.weights)
        return baselines.mixture(self.pools, _shares(text, flag), where=f"{flag} {text}")


def _shares(text: str, flag: str) -> dict[str, float]:
    found: dict[str, float] = {}
    for item in text.split(","):
        name, equals, value = item.rpartition("=")
        if not equals:
            raise typer.BadParameter(f"{text!r} is no mixture: write {FORMS}", param_hint=flag)
        if name in found:
            raise typer.BadParameter(f"{text!r} names {name} twice", param_hint=flag)
        found[name] = _number(value, text, flag)
    return found


def _number(value: str, text: str, flag: str) -> float:
    try:
        return float(value)
    except ValueError:
        raise typer.BadParameter(f"{text!r} has no number after its =: write {FORMS}", param_hint=flag) from None
