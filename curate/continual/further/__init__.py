"""Answer further questions about runs that continue one model: next runs, a limited corpus, the best model size.

In: the runs and their fitted laws. Out: one answer to each question that was asked. May use: fitting, planning.
"""
