"""The members that CONTRIBUTING shows work when they are pasted into a file of the user's own."""

import re
from pathlib import Path

import polars as pl
import pytest
import torch

import curate
from curate import open_sets
from curate.engines.local import Local
from curate.errors import SchemaError
from curate.pool.mixture import Mixture, Part
from curate.pool.pool import Budget, Pool
from curate.runs.recipes import Recipes

PAGE = (Path(__file__).parent.parent / "CONTRIBUTING.md").read_text(encoding="utf-8")
RECIPES = {path: text for path, text in re.findall(r"```python\n# (curate/\S+)\n(.*?)```", PAGE, flags=re.S)}


@pytest.fixture
def pasted(tmp_path):
    """A function that writes a recipe of an open set to a file, and returns the name of its class there."""

    def paste(folder: str, name: str = "") -> str:
        start = f"curate/{folder}/{name}"
        path, text = next((path, text) for path, text in RECIPES.items() if path.startswith(start))
        file = tmp_path / Path(path).name
        file.write_text(text, encoding="utf-8")
        return f"{file}:{file.stem.capitalize()}"

    return paste


def test_the_scorer(pasted):
    batch = pl.DataFrame({"text": ["Why? Because. How?", "No.", "", None]})
    scorer = open_sets.build("scorers", pasted("scorers", "questions"))
    assert scorer(batch)["score.questions"].to_list() == pytest.approx([2 / 3, 0, 0, 0])


@pytest.mark.parametrize("workers", [1, 2])
def test_the_scorer_that_learns(pasted, tmp_path, workers):
    rows = pl.DataFrame({"id": ["a", "b", "c", "d"], "text": ["x" * 10, "x" * 20, "x" * 30, None]})
    # Row groups of one row each, so that the corpus may have several parts.
    rows.write_parquet(tmp_path / "rows.parquet", row_group_size=1)
    out = tmp_path / "scores"
    result = curate.score(tmp_path / "rows.parquet", pasted("scorers", "usual"), out, engine=Local(workers))
    # The mean is 60 / 4 = 15 bytes.
    assert result.scores().collect()["score.usual"].to_list() == pytest.approx([-1 / 3, -1 / 3, -1, -1])


def test_the_scorer_that_learns_names_empty_data(pasted, tmp_path):
    pl.DataFrame({"text": ["", None]}).write_parquet(tmp_path / "rows.parquet")
    with pytest.raises(SchemaError, match="usual: the 2 texts of the data have 0 bytes. Check"):
        curate.score(tmp_path / "rows.parquet", pasted("scorers", "usual"), tmp_path / "scores")


def test_the_law(pasted):
    law = open_sets.build("laws", pasted("laws"))
    published = {"Nc": 6.4e13, "Dc": 1.8e13, "alphaN": 0.076, "alphaD": 0.103}  # the fit of the paper
    assert {param.name for param in law.params()} == set(published)
    theta = {name: torch.tensor(value, dtype=torch.float64) for name, value in published.items()}
    weights = torch.ones((1, 1), dtype=torch.float64)
    tokens, params = torch.tensor([[1e30], [1e9]], dtype=torch.float64)
    recipes = Recipes(weights, tokens, params, unique=weights * torch.inf)
    # With unlimited data, equation 1.5 becomes equation 1.1: (Nc / N)^alphaN.
    assert float(law.loss(theta, recipes)) == pytest.approx((6.4e13 / 1e9) ** 0.076, rel=1e-4)


def test_the_export(pasted):
    parts = (Part(Pool("web", 1e6, 10), 300, ("a",)), Part(Pool("tab\there", 1e6, 10), 100, ("b", "c")))
    text = open_sets.build("exports", pasted("exports")).render(Mixture(parts, (), 1e6, "a test"))
    rows = [line.split("\t") for line in text.splitlines() if not line.startswith("#")]
    assert rows == [
        ["pool", "tokens", "share", "paths"],
        ['"web"', "300", "0.75", '["a"]'],
        ['"tab\\there"', "100", "0.25", '["b", "c"]'],
    ]


def test_the_trainer(pasted, tmp_path):
    (tmp_path / "losses.json").write_text('{"web": 3.0, "code": 2.0}', encoding="utf-8")
    trainer = open_sets.build("trainers", f"{pasted('trainers')}:path={tmp_path / 'losses.json'}")
    assert trainer.train({"web": 0.25, "code": 0.75}, Budget(1e6, 1e5), seed=0) == {"mean": 2.25}
