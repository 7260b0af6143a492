"""The optimal-transport distance from a mixture of sources to a target, and its gradient.

In: samples of points. Out: distances, gradients and values. May use: the root files only.
"""
