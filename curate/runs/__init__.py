"""Training runs: recipes as tensors, run tables, pilot runs, and what a plan needs of a fit.

In: pools, or a run table as a file or in memory. Out: `Runs`, `Recipes`, `Predictor`. May use: pool, tables, trainers,
storage, engines.
"""
