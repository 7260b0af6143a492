"""Set a part of the rows aside that shares no group with the training set: `materialize --holdout`.

In: data files, and links of duplicates or a column. Out: the groups that are held out, and the files of their rows.
May use: what `training_set` may.
"""
