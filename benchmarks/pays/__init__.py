"""What `pruning_pays.py` trains on: the texts, and the ways of pruning them."""
