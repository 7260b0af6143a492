"""Read rows from files and write them back, batch by batch.

In: Parquet, JSONL and Arrow files, or tables in memory. Out: batches of rows with their identity, and Parquet files.
May use: `storage`, `pool` and the files at the root of `curate`.
"""
