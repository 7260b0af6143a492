"""Rows on disk as Arrow and Polars batches, and back.

In: Parquet, JSONL and Arrow files. Out: batches with an identity, and Parquet files. May use: storage and pool.
"""
