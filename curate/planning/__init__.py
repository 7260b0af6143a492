"""Find the best mixture for a budget within limits, and say how much freedom is left.

In: a predictor, pools, budgets and limits. Out: `Plan`. May use: laws, runs, schedules, pool.
"""
