"""Refuse a table whose parameters or tokens are counts in millions or billions, and say how to repair it."""

import re
from collections.abc import Mapping
from itertools import product

import numpy as np
import polars as pl

from curate.errors import SchemaError
from curate.runs.sources.named_table import NamedTable

# A median below this is a count in millions or billions: people who train models of 1e4 parameters are rare, and a
# training of 1e4 tokens is a few batches.
FEWEST = 1e4
# Nobody stops a training before it has seen so few tokens for each parameter. Public ladders begin at .1.
FEWEST_PER_PARAM = 0.01
# Tokens are judged only beside models of this size. A table of very small models may have very short runs.
SMALLEST_MODEL = 1e5
# Above this median, counts were multiplied by a factor that they did not need. No model has so many parameters, and no
# training so many tokens: the largest known ones have about 1e12 and 1e14.
MOST = {"params": 1e13, "tokens": 1e15}
FACTORS = {1e6: "millions", 1e9: "billions"}
TOKENS_PER_PARAM = 20.0  # of a usual training (Hoffmann et al. 2022): the factors nearest to it are the likely ones
SMALLEST_USUAL_MODEL, RARE = 1e6, 100.0  # fewer parameters count as a hundred powers of e too few or too many tokens
# Names such as N (M), params_b and "tokens in billions" tell their unit.
UNIT_NAMES = {
    1e6: re.compile(r"\bmillions?\b|\(m\)|_m\b|\bmio\b", re.IGNORECASE),
    1e9: re.compile(r"\bbillions?\b|\(b\)|_b\b|\bbn\b", re.IGNORECASE),
}


def check(table: NamedTable, expressions: Mapping[str, str], *, alone: bool = True) -> None:
    """Check that the counts in a table can be single parameters and single tokens.

    ``expressions`` are those of the column map. A count that an expression computes is judged too, unless the
    expression is a product: this is how a user says that small counts are right. ``alone``: whether it is the only
    table. With several, the repair must leave the counts of the others as they are.

    Raises:
        SchemaError: if the median of the parameters or of the tokens is below 1e4, with the repair; or is larger than
            in any training.
    """
    if any(name.startswith("distance.") for name in table.frame.columns):
        # Tables for optimal transport count examples, such as images, of which a run may have a hundred.
        return
    medians = {name: _median(table.frame, name) for name in ("params", "tokens")}
    params, tokens = medians["params"], medians["tokens"]
    if huge := next((name for name, median in medians.items() if MOST[name] < median < np.inf), None):
        by = f" after --map '{huge}={expressions[huge]}'" if huge in expressions else ""
        raise SchemaError(
            f"{table.origin}: the median of {huge} is {medians[huge]:.4g}{by}, more than any training has. Are these "
            "counts multiplied by a factor that they do not need? To multiply only the small ones of several tables, "
            f"write --map '{huge}=CASE WHEN {huge} < 1e4 THEN {huge} * 1e6 ELSE {huge} END'"
        )
    small = {"params"} if params < FEWEST else set()
    if tokens < FEWEST and (small or params >= SMALLEST_MODEL):
        small.add("tokens")
    if not small and SMALLEST_MODEL <= params < np.inf and tokens < FEWEST_PER_PARAM * params:
        small.add("tokens")
    small -= {name for name in small if "*" in expressions.get(name, "")}
    if not small:
        return
    sources = {name: expressions.get(name, name) for name in sorted(small)}
    factors = _likely_factors(medians, sources)
    shown = " and ".join(f"the median of {name} is {medians[name]:.4g}" for name in sources)
    units = " and ".join(
        f"{FACTORS[factors[name]]} of {'parameters' if name == 'params' else name}" for name in sources
    )
    repairs = " ".join(
        f"--map '{name}={_repaired(source, table.frame, name, _written(factors[name]), alone=alone)}'"
        for name, source in sources.items()
    )
    # A name such as N (M) leaves no doubt about the factor.
    doubtful = any(len(_choices(name, sources)) > 1 for name in sources)
    others = " or ".join(_written(factor) for factor in FACTORS if doubtful and factor not in factors.values())
    raise SchemaError(
        f"{table.origin}: {shown}. These look like {units}. Repair them with {repairs}"
        f"{f' (or with {others})' if others else ''}. If the numbers are right, write * 1 instead"
    )


def _median(frame: pl.DataFrame, name: str) -> float:
    """Return the median of the positive numbers in a column, or infinity if there are none."""
    if name not in frame.columns or frame[name].dtype != pl.Float64:
        return np.inf
    values = frame[name].drop_nulls()
    median = values.filter(values > 0).median()
    return np.inf if median is None else float(str(median))


def _likely_factors(medians: Mapping[str, float], sources: Mapping[str, str]) -> dict[str, float]:
    """Return the factors that are likely missing: those that names tell, or that give a usual length of training."""

    def distance(factors: tuple[float, float]) -> float:
        ratio = medians["tokens"] * factors[1] / (medians["params"] * factors[0])
        # A model of .12 million parameters is rarer than one of .12 billion. Of two factors that are as likely, the
        # smaller one is taken, and the message names the other.
        rare = RARE if medians["params"] * factors[0] < SMALLEST_USUAL_MODEL else 0.0
        return rare + (abs(np.log(ratio / TOKENS_PER_PARAM)) if np.isfinite(ratio) and ratio > 0 else 0.0)

    params, tokens = min(product(_choices("params", sources), _choices("tokens", sources)), key=distance)
    return {"params": params, "tokens": tokens}


def _choices(name: str, sources: Mapping[str, str]) -> list[float]:
    if name not in sources:
        return [1.0]
    told = [factor for factor, pattern in UNIT_NAMES.items() if pattern.search(sources[name])]
    return told if len(told) == 1 else list(FACTORS)


def _factor_of(source: str, frame: pl.DataFrame) -> str:
    """Return a column or an expression as it is written in a product: names in quotes, expressions in parentheses."""
    if source not in frame.columns:
        return f"({source})"
    return source if source.isidentifier() else f'"{source}"'


def _repaired(source: str, frame: pl.DataFrame, name: str, factor: str, *, alone: bool) -> str:
    """Return the expression that multiplies a count, and in other tables only counts as small as in this one."""
    written = _factor_of(source, frame)
    if alone:
        return f"{written} * {factor}"
    largest = float(np.nanmax(frame[name].to_numpy()))
    return f"CASE WHEN {written} <= {largest!r} THEN {written} * {factor} ELSE {written} END"


def _written(factor: float) -> str:
    return f"1e{round(np.log10(factor))}"
