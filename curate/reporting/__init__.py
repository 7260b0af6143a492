"""The job `report`: one page that shows the results in a folder.

In: a folder with any of the files that the other jobs write. Out: a `Report`, which is one HTML page.
May use: every other room on lower floors, of both wings, and `charts`.
"""

# The files that a report shows, as the command's help and an error name them. It stands in this file, which imports
# nothing, so that the help is instant.
FILES = "scores/, pools.json, runs.parquet with fit.json, plan.json, schedule.json, cmr.json, check.json"
