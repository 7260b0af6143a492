"""The job `score`: run scorers over rows, let them learn first where they do, and continue where a job stopped.

In: files of rows or a table in memory, and the names of scorers. Out: one score file for each input file.
May use: `scorers` and the lower floors of the rows wing.
"""
