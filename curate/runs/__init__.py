"""Training runs: recipes as tensors, run tables, and pilots that make new runs.

In: run tables or pools. Out: `Runs` and `Recipes`. May use: lower floors.
"""
