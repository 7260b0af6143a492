"""Draw the rows of a plan from its pools into shuffled shards: the job `materialize`.

In: pools and a mixture. Out: Parquet shards and index.json.
May use: `pool`, `engines`, `models`, `tables`, `storage`, and not the wing of runs.
"""
