"""One job at a time in an output folder, on disk and in an object store.

In: the folder of a job and its name. Out: a lock that is held, or an error that names the job that holds it.
May use: `storage` and the files at the root of `curate`.
"""
