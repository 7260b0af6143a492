"""The job `run`: score, prune, pools and materialize, as one recipe describes them.

In: a recipe (a TOML file), or data for which a recipe is proposed. Out: a folder with scores, decisions, pools and a
training set, or a recipe with comments. May use: all rooms.
"""
