"""One score of every row, with the row's group, read by the engine file by file.

In: score files. Out: totals, a histogram, and streams of rows.
May use: `curate.pruning.ranking`, `curate.pruning.balance`, `engines`, `tables`.
"""
