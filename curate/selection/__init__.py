"""The job `select`: choose how much of each source to take, so that together they resemble a target.

In: samples of the sources and of the target, and a few small runs if there are any. Out: a mixture and what it was
compared with. May use: fitting, planning, transport.
"""
