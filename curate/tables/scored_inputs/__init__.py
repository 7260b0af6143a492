"""Whether an input still has the rows that were scored, and which of its lines were set aside.

In: an input file and the records of the job `score`. Out: hashes of rows, counts of lines, or an error.
May use: the other files of `tables`, and `storage`.
"""
