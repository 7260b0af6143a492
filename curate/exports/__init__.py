"""A plan, or a phase of a schedule, as the config file of a trainer: one format a file, and the job `export`.

In: a mixture in whole tokens, with paths. Out: the text of a file. May use: pool and storage.

An export is a file with one frozen dataclass that has the members of `Export`; the file name is the name on the command
line, and the class has the same name in capitals (``my_trainer.py`` holds ``MyTrainer``). It needs a reader in
``tests/exports/readers``, which reads its files as the trainer does. Every export keeps these rules:

* Provenance. A file begins with the comment lines of `_text.header`: that curate made it, from which plan, how many
  tokens and passes every pool has, which paths are guessed, and which pools are left out. A format without comments
  puts the same facts under a key that its trainer ignores; if there is no such key, the file has none of them.
* Names and paths come back from the file exactly as they were, whatever characters they have. YAML and JSON quote them
  with `_text.quoted`, Python with ``repr``. What a format cannot hold is an error that says what to change; nothing is
  escaped by a rule of our own, and nothing is dropped.
* Weights are the shares of training tokens and sum to 1. If the trainer counts something else (examples, samples), the
  module's docstring says so. `_text.decimal` writes them, since YAML 1.1 reads 1e-05 as a string.
* Pools without tokens stand in the provenance only.
* The same mixture gives the same text: no time, no host name, no random choice.
* The module's docstring names the trainer's own code that reads the file, with its version.
"""

from curate.exports._contract import Export
from curate.exports._job import Exported, export

__all__ = ["Export", "Exported", "export"]
