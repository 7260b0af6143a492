"""Choose the defaults of `fit` from the run table: the laws to compare, and the runs to hold out.

In: run tables and recipes. Out: names of laws, and masks of runs. May use: laws, runs and lower floors.
"""
