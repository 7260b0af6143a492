"""Read mixtures from the command line, where they are the name of a rule, or shares of pools."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

from curate.written_names import QUOTING, split, valued

if TYPE_CHECKING:
    from curate.pool.mixture_rules import MixtureRule
    from curate.pool.pool import Pool

FORMS = "proportional, uniform, tau=NUMBER, unimax[=CAP], plan[=INDEX] or POOL=SHARE,POOL=SHARE..."


def parse(text: str, flag: str) -> "MixtureRule | dict[str, float]":
    """Parse a mixture from text: a rule, or shares by pool. Error messages name ``flag``."""
    from curate.pool.mixture_rules import MixtureRule

    name, equals, value = text.partition("=")
    if name in ("proportional", "uniform") and not value:
        return MixtureRule(name)
    # With a comma the text is a list of shares, whose first pool has the name of a rule. With a second "=" it is the
    # share of a pool whose name begins like a rule.
    if "," not in text and "=" not in value:
        if name == "tau":
            return MixtureRule(name, _number(value, text, flag))
        if name == "unimax":
            return MixtureRule(name, _number(value, text, flag) if equals else None)
        if name == "plan":
            if equals and not value.isdecimal():
                raise typer.BadParameter(
                    f"{text!r}: give the index of a plan as a whole number, from 0", param_hint=flag
                )
            return MixtureRule(name, int(value) if value else None)
    return _shares(text, flag)


def shares(text: str, pools: "Sequence[Pool]", tokens: float, flag: str) -> dict[str, float]:
    """Read text such as tau=3 or web=0.7,code=0.3, and return the share of each pool. The shares sum to 1.

    UniMax needs the training ``tokens`` for its cap.
    """
    from curate.pool.mixture_rules import MixtureReader

    return MixtureReader(pools).shares(parse(text, flag), tokens, f"{flag} {text}")


def _shares(text: str, flag: str) -> dict[str, float]:
    shares: dict[str, float] = {}
    for item in split(text):
        name, value = valued(item)
        if value is None:
            raise typer.BadParameter(f"{text!r} is not a mixture: write {FORMS}; {QUOTING}", param_hint=flag)
        if name in shares:
            raise typer.BadParameter(f"{text!r} names {name} twice", param_hint=flag)
        shares[name] = _number(value, text, flag)
    return shares


def _number(value: str, text: str, flag: str) -> float:
    try:
        return float(value)
    except ValueError:
        raise typer.BadParameter(
            f"{text!r} has no number after its last =: write {FORMS}; {QUOTING}", param_hint=flag
        ) from None
