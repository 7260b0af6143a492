"""Fit laws to runs, compare them on held-out runs, and say what the runs cannot tell.

In: runs and laws. Out: fits with intervals. May use: laws, runs and lower floors.
"""
