"""Curves that are not laws over recipes: loss over a schedule, a metric from a loss, error against kept size.

In: run tables. Out: fitted curves and their records in fit.json. May use: fitting and lower floors.
"""
