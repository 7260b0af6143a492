"""One score of every ranked row, with the row's group and tokens: read once by the engine, then kept in a work file.

In: score files. Out: totals, and the rows in their order.
May use: `curate.pruning.balance`, `engines`, `tables`.
"""
