"""Split texts into words and n-grams, as hashes in arrays: numpy over UTF-8 bytes, in every script.

In: a column of texts. Out: arrays of 64-bit hashes and their offsets. May use: no other room.
"""
