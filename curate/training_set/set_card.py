"""Write the card of a training set, so that `datasets.load_dataset` reads its splits.

In: a training set. Out: README.md beside its shards.
"""

from curate.shown import escaped
from curate.tables.data_set import card
from curate.tables.data_set.card import Split
from curate.tables.token_counts import TOKENS
from curate.training_set.draw import TrainingSet
from curate.training_set.holdout import held_rows
from curate.training_set.shuffle import PART_FILES

TRAIN = "train"


def save_card(training_set: TrainingSet, command: str, tag: str) -> None:
    """Write the card of a training set to its folder. ``command`` made it, and ``tag`` is the column of its tags."""
    splits = [_split(TRAIN, PART_FILES, training_set.shards)]
    if training_set.held:
        splits.append(_split(held_rows.SPLIT, f"{held_rows.FOLDER}/*.parquet", training_set.held))
    table = training_set.table()
    rows = [[f"{value:.3g}" if isinstance(value, float) else value for value in row] for row in table.rows()]
    noun = training_set.tokens_noun
    header = [name.replace(TOKENS, noun) for name in table.columns]
    body = ["## Pools", "", *card.table(header, rows), ""]
    if tag:
        body += [f"Each text begins with a tag: `{tag}: ` and the value of the row, then an empty line.", ""]
        body += [line for note in training_set.tag_notes for line in (escaped(f"Note: {note}."), "")]
    if training_set.columns:
        names = ", ".join(f"`{name}`" for name in training_set.columns)
        body += [escaped(f"`text` is what was scored. It was made of {names}, which stand beside it as they came."), ""]
    if holdout := training_set.holdout:
        together = f"with equal values of `{holdout.by}`" if holdout.by else "that the scorer duplicates linked"
        body += [f"No row of {TRAIN} is in {held_rows.SPLIT}. Rows {together} are in the same split.", ""]
    for line in training_set.warnings:
        body += [escaped(f"Warning: {line}."), ""]
    card.save(training_set.out, "Training set", splits, [*body, *card.made_with(command)], tokens_noun=noun)


def _split(name: str, files: str, parts: tuple[tuple[str, int, int], ...]) -> Split:
    return Split(name, files, sum(rows for _, rows, _ in parts), sum(tokens for _, _, tokens in parts))
