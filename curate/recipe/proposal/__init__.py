"""Propose a recipe for data: `curate run --init DATA`.

In: files of rows. Out: the text of a recipe, in which every line has a comment with its reason. May use: all rooms.
"""
