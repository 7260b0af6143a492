"""What a plan needs of a fit, and predictors that are made of other predictors.

In: recipes. Out: predicted losses, with draws and intervals. May use: the files of `runs` that describe recipes.
"""
