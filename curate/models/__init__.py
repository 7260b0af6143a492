"""Networks that other rooms train or run: language models and sentence encoders, in batches, on one device.

In: texts, and the folder of a model. Out: vectors, log probabilities, hidden states, gradients, or saved parameters.
May use: storage, pool and the files at the root. Imports torch and transformers only when a model is loaded or run.
"""
