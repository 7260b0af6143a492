"""Measure what kind of data set this is: dimension, label sharpness, diversity, overlap of sources.

In: rows. Out: a table of measures. May use: lower floors of the rows wing.
"""
