"""Requirements: conditions in SQL that a row must meet, whatever the other rows are.

In: conditions over columns of score files and inputs. Out: for each row, the first requirement that it fails.
May use: `curate.pruning.eligible`, `streaming`, `engines`, `tables`, `storage`.
"""
