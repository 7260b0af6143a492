"""Let scorers learn from all rows before the rows are scored.

In: the shards of a job with scorers that learn. Out: these scorers when they have learned, and computed columns.
May use: the files of `scoring` and what `scoring` may use.
"""
