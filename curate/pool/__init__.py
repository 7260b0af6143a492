"""Pools of training examples, training budgets, mixtures in whole tokens, and baseline mixtures.

In: pools.json, and the shares of a plan or a schedule. Out: `Pool`, `Budget`, `Mixture`, baseline
shares. May use: storage.
"""
