"""Write the kept rows of a pruning as a data set that `datasets`, DuckDB and Polars load.

In: score files, decisions and the inputs. Out: OUT/rows with a card and files of one format and one schema.
May use: what `pruning` may.
"""
