"""Files and objects: listed, read, hashed, and written whole or not at all.

In: paths, bytes and JSON records. Out: files, content hashes, and the record of what a job was made from and has done.
May use: the files at the root of `curate`.
"""
