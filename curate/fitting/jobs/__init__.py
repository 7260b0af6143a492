"""Do the parts of the job `fit`: check what is wanted, read the tables, fit laws or corpora, and say what was kept.

In: the arguments of `curate.fit`. Out: the parts of its report. `curate.fitting.job` calls them in order.
"""
