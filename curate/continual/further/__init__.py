"""Further questions about runs that continue one model: what to run next, a limited corpus, model size, Gu et al.

In: the runs and their fitted laws. Out: one answer a question, each only if it was asked. May use: fitting, planning.
"""
