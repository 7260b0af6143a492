"""Measure how far a mixture of sources is from a target by optimal transport, with the gradient in the shares.

In: samples of points, with or without labels. Out: distances, gradients, values of samples.
May use: the root files only.
"""
