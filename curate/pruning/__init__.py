"""Decide which scored rows to keep, and cut them into pools: the jobs `prune` and `pools`.

In: score files. Out: decisions, a table of what was removed, pools.json.
May use: `description`, `streaming`, `pool`, `engines`, `tables`, `storage`, and not the wing of runs.
"""
