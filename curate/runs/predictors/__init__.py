"""The interface of a predictor of losses, and predictors that are made of other predictors.

In: recipes. Out: predicted losses, with draws and intervals. May use: the files of `runs` that describe recipes.
"""
