"""Find exactly which rows come first in an order, without holding all rows in memory.

In: batches of scores, groups and ids, read several times. Out: cuts, and a verdict for every row.
May use: `curate.engines`, `curate.tables`. It knows nothing of score files, rules or sources.
"""
