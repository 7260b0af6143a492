"""A fit depends on what the runs are, not on the order in which a table lists them."""

import polars as pl
import pytest
from problems import law_of, recipes, theta

from curate import fit
from curate.fitting.jobs import row_order
from curate.runs import run_table


def table(n: int = 24) -> pl.DataFrame:
    base = recipes(n, 2, 4)
    loss = law_of("mixing").loss(theta("mixing", 2), base).numpy()
    shares = base.weights.numpy()
    return pl.DataFrame(
        {
            "run": [f"r{i}" for i in range(n)],
            "params": base.params.numpy(),
            "tokens": base.tokens.numpy(),
            "weight.a": shares[:, 0],
            "weight.b": shares[:, 1],
            "loss.web": loss,
        }
    )


@pytest.mark.parametrize("law", ["mixing,power", "boosted:base=none"])
def test_permuted_rows_give_the_same_fit(law):
    shuffled = table().sample(fraction=1, shuffle=True, seed=1)
    first, second = (fit(rows, law=law, starts=2, draws=3) for rows in (table(), shuffled))
    assert first.record == second.record
    assert first.points.equals(second.points)


def test_rows_of_one_name_are_ordered_by_their_other_columns():
    rows = pl.DataFrame(
        {
            "run": ["b", "a", "a", "a"],
            "corpus": pl.Series(["x", "y", "x", "x"], dtype=pl.Enum(["y", "x"])),
            "params": [1e8] * 4,
            "tokens": [1e9, 1e9, 1e9, 2e9],
            "loss.web": [3.0, 3.1, 3.2, 3.3],
        }
    )
    ordered = row_order.by_content(run_table.read(rows))
    assert ordered.frame["loss.web"].to_list() == [3.2, 3.1, 3.3, 3.0]
    assert ordered.trainings.count == 3
