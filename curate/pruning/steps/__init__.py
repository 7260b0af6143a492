"""What the steps of the job `prune` share: its arguments, the folders that it holds, its ranking, and its records.

In: the arguments of a call. Out: what `curate.pruning.prune` reads from top to bottom.
May use: what `pruning` may.
"""
