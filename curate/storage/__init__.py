"""Bytes at rest: files, object stores, atomic writes, content hashes, the record of what a job has done.

In: paths and bytes. Out: files that are whole or absent. May use: the root files only.
"""
