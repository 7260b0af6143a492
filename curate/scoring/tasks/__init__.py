"""Say what the tasks of a scoring job are, run them in bundles on its engine, and judge which files are bad.

In: tasks, and a function that does a bundle of them. Out: what each task did, also for a file that ends its workers.
"""
