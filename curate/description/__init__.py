"""Describe a data set: intrinsic dimension, label sharpness, Vendi score, overlap of sources.

In: rows of files or of a table in memory. Out: a ``Description`` with tables, a chart and a JSON file.
May use: streaming, encoders, tables and lower floors.
"""
