"""Typed forms of our JSON files: which fields they may have, of which types and in which ranges.

In: nothing. Out: a `TypedDict` for each kind of file, which `curate.storage.schema` checks files
against. May use: no room. A form names what our readers use; other fields are allowed, so that a file of a later
version can be read.
"""
