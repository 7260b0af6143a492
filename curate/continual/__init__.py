"""The job `cmr`: how much domain data a continued training can take before its general loss rises too far.

In: a table of runs that continue one model. Out: critical mixture ratios with intervals.
May use: fitting, planning, laws, runs.
"""
