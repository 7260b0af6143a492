"""The job `select`: choose sources by optimal transport from samples and a few small runs.

In: samples of sources and of a target. Out: a mixture and what it was compared with. May use: fitting, planning,
transport.
"""
