"""Put the copies of all rows of a training set in their order, on the engine and with flat memory.

In: the rows of every data file with a random key each, and the planned tokens of every pool. Out: files with the place
of every copy.
May use: `storage`.
"""
