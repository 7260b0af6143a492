"""Compare two data sets: how well they can be told apart, by what, and how far they lie from each other.

In: samples of the rows of both. Out: `DataComparison`. May use: streaming, encoders, tables and lower floors.
"""
