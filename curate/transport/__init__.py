"""Measure how far a mixture of sources is from a target by optimal transport.

In: samples of points, with or without labels. Out: distances, gradients, values of samples.
May use: the root files only.
"""
