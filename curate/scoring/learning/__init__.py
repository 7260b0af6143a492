"""Let scorers learn from all rows before the rows are scored.

In: the shards of a job some of whose scorers learn. Out: scorers that have learned, and columns that are computed.
May use: the files of `scoring` and what `scoring` may use.
"""
