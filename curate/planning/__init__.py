"""Find the best mixture of pools for each compute budget, and how free its shares are.

In: a predictor of losses, pools, budgets and limits. Out: `Plan`, `Plans` and plan.json.
May use: runs, schedules, pool, tables, storage and the root files.
"""
