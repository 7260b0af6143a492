"""Warnings of extrapolation say in words what no fitted run had."""

from dataclasses import replace

import pytest
from problems import planted, theta

from curate.planning import extrapolation
from curate.runs.recipes import recipes

FIT = planted("mixing", "ab", theta("mixing", 2))


def lines(ranges: dict[str, tuple[float, float]], weights: list[float], unique: float) -> tuple[str, ...]:
    fit = replace(FIT, ranges={**FIT.ranges, "tokens": (1e9, 1e9), "params": (1e8, 1e8), **ranges})
    return extrapolation.warnings([fit], recipes([weights], [1e9], [1e8], [[unique, 1e12]]))


@pytest.mark.parametrize("most", [0.0, 0.6, 1.0])
def test_repeats_that_no_run_had_are_not_measured(most):
    (line, *_) = lines({"epochs": (0.0, most)}, [0.5, 0.5], 2.5e8)
    assert line == "extrapolated: no fitted run repeats data, so the cost of reading a pool 2 times is not measured"


def test_more_repeats_than_any_run_had_give_the_factor():
    (line, *_) = lines({"epochs": (0.0, 4.0)}, [0.5, 0.5], 5e7)
    assert line == "extrapolated: a pool is read 10 times, which is 2.5x the most of any fitted run (4)"


def test_a_pool_that_no_run_used_is_named():
    (line,) = lines({"share of b": (0.0, 0.0), "share of a": (0.0, 1.0), "epochs": (0.0, 4.0)}, [0.7, 0.3], 1e12)
    assert line == "extrapolated: share of b is 0.3, and no fitted run has any of it"
