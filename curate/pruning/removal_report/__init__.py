"""What pruning removed, for people: tables, warnings, and examples of each reason.

In: counts of what was removed, and the removed rows. Out: removal.parquet and removal.md.
May use: `curate.pruning.removal_table`, `curate.pruning.requirements`, `engines`, `tables`, `storage`.
"""
