"""Run the tasks of a scoring job in bundles on its engine.

In: tasks, and a function that does a bundle of them. Out: what each task did, also for a file that ends its workers.
"""
