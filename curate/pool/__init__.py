"""Pools, budgets and mixtures in whole tokens, and the baselines that every plan is compared with.

In: pools.json and shares. Out: `Pool`, `Budget`, mixtures. May use: storage.
"""
