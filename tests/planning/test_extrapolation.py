"""Warnings of extrapolation say in words what no fitted run had."""

from dataclasses import replace

import pytest
import torch
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


def test_shares_above_the_fitted_ones_are_one_line():
    fit = planted("mixing", "abc", theta("mixing", 3))
    fit = replace(fit, ranges={**fit.ranges, "share of a": (0.0, 0.2), "share of b": (0.0, 0.3)})
    (line,) = extrapolation.warnings([fit], recipes([[0.45, 0.5, 0.05]], [1e10], [1e9], [[1e12] * 3]))
    assert line == (
        "extrapolated: share of a 0.45 is 2.25x the largest fitted (0.2); b lies above the largest fitted share too"
    )


def test_shares_below_the_fitted_ones_are_one_line():
    fit = planted("mixing", "abc", theta("mixing", 3))
    fit = replace(fit, ranges={**fit.ranges, "share of a": (0.2, 1.0), "share of b": (0.3, 1.0)})
    (line,) = extrapolation.warnings([fit], recipes([[0.1, 0.0, 0.9]], [1e10], [1e9], [[1e12] * 3]))
    assert line == (
        "extrapolated: share of b 0 is below the smallest fitted (0.3); a lies below the smallest fitted share too"
    )


def test_rows_from_inside_a_training_are_not_called_too_short():
    fit = replace(FIT, ranges={**FIT.ranges, "tokens": (1e9, 1e9), "params": (1e8, 1e8)})
    half = replace(recipes([[0.5, 0.5]], [5e8], [1e8], [[1e12] * 2]), progress=torch.tensor([0.5]))
    (line,) = extrapolation.warnings([fit], half)
    assert line.startswith("unfinished: 1 of 1 rows are from inside a training")
    (line,) = extrapolation.warnings([fit], replace(half, progress=None))
    assert line == "extrapolated: tokens 5e+08 is 2x below the smallest fitted (1e+09)"
