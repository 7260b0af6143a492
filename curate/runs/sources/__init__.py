"""Tables of other programs, of other units and of several files, as one frame with the columns of a run table.

In: files or tables in memory, a column map, and the name of the program that wrote them. Out: one frame with notes on
what was changed. May use: the readers of files and of number columns in runs, tables, storage.
"""
