"""The jobs `prune` and `pools`: decide which rows to keep, say why, and cut scored rows into pools.

In: score files. Out: decisions, a table of what was removed, pools.json. May use: lower floors of the rows wing.
"""
