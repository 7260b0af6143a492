"""Algorithms over rows in bounded memory: k-means, n-grams, MinHash, linkage, samples.

In: streams of batches. Out: arrays, or files in a scratch folder. May use: storage, pool, models and tables.
"""
