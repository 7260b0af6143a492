"""Predict the loss of mixtures by a Gaussian process, alone or on top of a law, and from runs of several sizes.

In: recipes and losses. Out: `Gaussian`, which predicts, draws whole functions and comes back from fit.json.
"""
