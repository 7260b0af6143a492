"""The job `report`: one page that shows the results in a folder.

In: a folder with any of the files that the other jobs write. Out: a `Report`, which is one HTML page.
May use: every other room on lower floors, of both wings, and `charts`.
"""
