"""Mixtures that change over the course of training, and the job `schedule`.

In: pools, a number of training tokens and, if there is one, a plan. Out: `Schedule`, schedule.json. May use: storage
and pool.
"""
