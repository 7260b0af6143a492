"""Networks and language models that other rooms train or run.

In: token arrays or texts. Out: losses and vectors. May use: storage and pool.
"""
