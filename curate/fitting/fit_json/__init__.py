"""Turn fits of laws and trees into the entries of fit.json and back, and read entries of older formats.

In: a fit, or an entry of ``laws``. Out: the other of the two. `curate.fitting.fit_files` reads and checks whole files.
"""
