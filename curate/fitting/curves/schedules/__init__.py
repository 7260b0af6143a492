"""Curves of the loss over the learning rates of a training.

In: run tables with a row for each step. Out: fitted curves and their records in fit.json. May use: fitting and lower
floors.
"""
