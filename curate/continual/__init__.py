"""The job `cmr`: how much domain data fits before the general loss of a continued model rises too far.

In: runs that continue one model. Out: critical mixture ratios with intervals. May use: fitting, planning, laws, runs.
"""
