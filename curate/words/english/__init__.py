"""Split texts into words as spaCy's tokenizer for English does (``spacy.blank("en")``, version 3.8), for whole columns.

In: a column of texts. Out: where the words lie, as arrays. May use: its own room.

Web filters count words of this kind. The rules are data: classes of characters (`character_flags`), abbreviations,
contractions and smileys that are never split otherwise (`special_cases`). `chunk` applies the rules to one run of
visible characters, and is the definition. `splitting` applies the same rules to all runs at once by numpy, and leaves
the rare forms to `chunk`.
"""
