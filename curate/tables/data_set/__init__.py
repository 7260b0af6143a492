"""Write rows as a folder that `datasets`, DuckDB and Polars read: one schema for all files, and a card.

In: the schemas of input files and their rows. Out: rows of one schema, and README.md with the front matter that
`datasets.load_dataset` reads. May use: what `tables` may.
"""
