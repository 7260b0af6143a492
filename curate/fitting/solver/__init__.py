"""Solve the least-squares problems of a fit: coordinates of a law's parameters, many starts, bootstrap refits.

In: a law, recipes and log losses. Out: parameters and their draws. May use: laws, runs and lower floors.
"""
