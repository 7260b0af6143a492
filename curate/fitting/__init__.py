"""Fit laws and curves to runs, compare them on runs held out, and say what the runs cannot tell.

In: run tables and names of laws. Out: fits with intervals, comparisons, predictions.
May use: laws, runs, planning and lower floors.
"""
