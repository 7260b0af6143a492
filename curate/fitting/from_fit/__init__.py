"""Jobs that start from a fit on disk: they read fit.json and call the rooms below.

In: the path of a fit.json, or a fit. Out: the results of those jobs. May use: fitting and the rooms that it may use.
"""
