"""Which rows of a run table are checkpoints of one training, and how far each training had come.

In: the rows of a run table. Out: `Trainings`. A row from the middle of a training is not a finished run of that length:
its learning rate has still to fall. And the rows of one training err together, so they are not independent runs.
"""
