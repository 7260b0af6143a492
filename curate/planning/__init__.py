"""Find the best mixture of pools for each compute budget, within limits, and how much freedom is left.

In: a predictor of losses, pools, budgets and limits. Out: `Plan`, `Plans` and plan.json.
May use: runs, schedules, pool, tables, storage and the root files.
"""
