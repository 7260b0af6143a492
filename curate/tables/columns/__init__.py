"""Columns of input files: the types that are accepted, the names of classes, and vectors.

In: columns as a file holds them. Out: columns in the types that batches have, or an error that names the column.
May use: the files of `tables` that describe a request, and `storage`.
"""
