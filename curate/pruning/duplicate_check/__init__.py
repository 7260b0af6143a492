"""Check a sample of the duplicates that a job removes, by exact similarities.

In: score files, decisions and the texts. Out: a table with one row for each sampled removal.
May use: what `pruning` may use.
"""
