"""Algorithms over rows in bounded memory: k-means, MinHash, linkage, nearest rows.

In: a corpus, whose parts are read on the engine, or batches of rows. Out: arrays and frames.
May use: storage, pool, words, models and tables.
"""
