"""Give the columns of a user's files the names that jobs use, and make a column of texts from others.

In: what the user wrote (``--columns``, ``--join``, ``--render``), and the columns of a file.
Out: record batches with the columns ``text``, ``id``, ``source`` and so on. May use: the types of `tables.columns`.
"""
