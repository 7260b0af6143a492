"""The members that CONTRIBUTING shows work when they are pasted into a file of the user's own."""

import re
from pathlib import Path

import polars as pl
import pytest
import torch

from curate import open_sets
from curate.pool.mixture import Mixture, Part
from curate.pool.pool import Budget, Pool
from curate.runs.recipes import Recipes

PAGE = (Path(__file__).parent.parent / "CONTRIBUTING.md").read_text(encoding="utf-8")
RECIPES = {path: text for path, text in re.findall(r"```python\n# (curate/\S+)\n(.*?)```", PAGE, flags=re.S)}


@pytest.fixture
def pasted(tmp_path):
    """A function that writes the recipe of an open set to a file, and builds its class from there."""

    def build(folder: str, options: str = "") -> object:
        ((path, text),) = [(path, text) for path, text in RECIPES.items() if path.startswith(f"curate/{folder}/")]
        file = tmp_path / Path(path).name
        file.write_text(text, encoding="utf-8")
        return open_sets.build(folder, f"{file}:{file.stem.capitalize()}{options}")

    return build


def test_the_scorer(pasted):
    batch = pl.DataFrame({"text": ["Why? Because. How?", "No.", "", None]})
    assert pasted("scorers")(batch)["score.questions"].to_list() == pytest.approx([2 / 3, 0, 0, 0])


def test_the_law(pasted):
    law = pasted("laws")
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
    text = pasted("exports").render(Mixture(parts, (), 1e6, "a test"))
    rows = [line.split("\t") for line in text.splitlines() if not line.startswith("#")]
    assert rows == [
        ["pool", "tokens", "share", "paths"],
        ['"web"', "300", "0.75", '["a"]'],
        ['"tab\\there"', "100", "0.25", '["b", "c"]'],
    ]


def test_the_trainer(pasted, tmp_path):
    (tmp_path / "losses.json").write_text('{"web": 3.0, "code": 2.0}', encoding="utf-8")
    trainer = pasted("trainers", f":path={tmp_path / 'losses.json'}")
    assert trainer.train({"web": 0.25, "code": 0.75}, Budget(1e6, 1e5), seed=0) == {"mean": 2.25}
