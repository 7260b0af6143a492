"""The job `score`: run scorers over files, learn first where a scorer learns, continue where it stopped.

In: files of rows. Out: score files. May use: scorers and lower floors of the rows wing.
"""
