"""What else a plan can tell: near-optimal ranges, where pools enter, fronts of two evals, how much data to keep.

In: a predictor, pools, budgets, and plans. Out: records with tables. May use: the planning room and what it may use.
"""
