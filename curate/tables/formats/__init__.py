"""Read one kind of file each: Parquet, Arrow IPC, and lines of JSON.

In: a file and a request for rows. Out: record batches as the file has them.
May use: the files of `tables` that describe a request, and `storage`.
"""
