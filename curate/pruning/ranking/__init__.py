"""Sort rows that do not fit in memory, and take the first rows of each group.

In: rows as records of codes, keys and weights. Out: the rows in order, a block at a time, and which are taken.
May use: numpy only. It knows nothing of score files, rules or sources.
"""
