"""Algorithms over rows in bounded memory: k-means, MinHash, linkage, nearest rows.

In: streams of batches, or arrays on disk. Out: arrays, frames, or files in a scratch folder.
May use: storage, pool, words, models and tables.
"""
