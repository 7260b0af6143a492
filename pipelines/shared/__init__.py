"""Helpers that several jobs share: the console script, flags, mixtures as written, progress and tables."""
