"""The job `materialize`: draw the rows of a plan from its pools into shuffled shards.

In: pools and a mixture. Out: Parquet shards. May use: lower floors of the rows wing.
"""
