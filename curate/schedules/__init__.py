"""Mixtures that change over the course of training.

In: pools, a number of tokens and a plan. Out: phases with shares and passes. May use: storage and pool.
"""
