"""Answer questions about results that exist: why a row was kept or removed.

In: folders that other jobs wrote. Out: records that a person reads. May use: every room on lower floors, of both wings.
"""
