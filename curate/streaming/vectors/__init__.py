"""Find clusters, near copies and neighbours of vectors, on the parts that hold the vectors.

In: a corpus with a column of vectors. Out: centres, and for each row its cluster, its nearest rows, or whether it is
kept.
May use: the files of `streaming`, tables and lower rooms.
"""
