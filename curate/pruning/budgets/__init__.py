"""How much is kept: of all rows (`budget`), and at most of each value of a column (`caps`).

In: options as written, and sorted rows. Out: totals in rows or tokens, and the rows that a cap drops.
May use: `curate.pruning.ranking`, `curate.pruning.columns`, `tables`.
"""
