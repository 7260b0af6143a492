"""Networks and language models that other rooms train or run.

In: tokens or texts. Out: losses, vectors and saved parameters. May use: `storage`, `pool` and the files at the root.
Imports torch.
"""
