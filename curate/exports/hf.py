"""Hugging Face datasets: a Python module whose ``load()`` returns the mixture as a streaming data set.

``datasets.interleave_datasets`` (datasets >= 3.3; 5.2.0 was tested) is a function, and the library reads no file with
probabilities. So the export is a module that calls it with the planned numbers; its tables are plain literals.

The probabilities are of examples and not of tokens. A pool of long documents needs a smaller one: its share times
examples / tokens of the pool, scaled to sum to 1. With ``seq_len=N`` all rows have N tokens, and the probabilities are
the shares. The library stops at the first pool that runs out ("first_exhausted"), or early if every pool is repeated
("all_exhausted"); so every pool repeats without end here, and the mixture ends after the planned number of examples.
"""

from dataclasses import dataclass

from curate.errors import SchemaError
from curate.exports import _text
from curate.pool.mixture import Mixture, Part
from curate.pool.pool import check_examples

PACKINGS = ("", ".gz", ".zst")
# The builder of the datasets library for every ending of a file. TSV is missing: its builder would need the separator.
BUILDERS = {
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".arrows": "arrow",
    **{ending + packing: "json" for ending in (".json", ".jsonl", ".ndjson") for packing in PACKINGS},
    **{".csv" + packing: "csv" for packing in PACKINGS},
}

BODY = '''

def load(columns=("text",), buffer_size=10_000):
    """Return the planned training examples, shuffled within each pool; only ``columns`` are read."""
    parts = []
    for pool in POOLS:
        rows = datasets.load_dataset(pool["path"], data_files=pool["data_files"], split="train", streaming=True)
        rows = rows.select_columns(list(columns)).shuffle(seed=SEED, buffer_size=buffer_size)
        parts.append(rows.repeat(None))  # without end: its probability decides how often it is seen
    probabilities = [pool["probability"] for pool in POOLS]
    mixed = datasets.interleave_datasets(parts, probabilities, seed=SEED, stopping_strategy="all_exhausted")
    return mixed.take(EXAMPLES)
'''


def source(name: str, paths: tuple[str, ...]) -> dict[str, object]:
    """Return ``path`` and ``data_files`` for ``load_dataset``: files of one kind, or one folder or name of a dataset.

    Raises:
        SchemaError: files of several kinds, or several paths that are not files of a known kind.
    """
    endings = {builder for p in paths for ending, builder in BUILDERS.items() if p.endswith(ending)}
    readable = all(p.endswith(tuple(BUILDERS)) for p in paths)
    if readable and len(endings) == 1:
        return {"path": endings.pop(), "data_files": list(paths)}
    if readable or len(paths) > 1:
        raise SchemaError(
            f"pool {name!r} lies at {', '.join(paths[:3])}: give files of one kind ({', '.join(BUILDERS)}), or one "
            "folder or name of a dataset"
        )
    return {"path": paths[0], "data_files": None}


@dataclass(frozen=True)
class Hf:
    """Writes one dataset for every pool.

    Every pool needs ``examples`` in pools.json, its real number of rows: the probabilities follow from it.

    Options:
        seq_len: tokens of a row, if all rows have the same length; 0 if not (default 0).
    """

    seq_len: int = 0
    suffix = ".py"
    usual = "data/{pool}/*.parquet"
    reads = tuple(BUILDERS)

    def __post_init__(self) -> None:
        """Check that the length is a count of tokens."""
        if not (isinstance(self.seq_len, int) and self.seq_len >= 0):
            raise SchemaError(f"hf:seq_len={self.seq_len} must be a count of tokens, for example 2048")

    def render(self, mixture: Mixture) -> str:
        """Return the text of the module.

        Raises:
            SchemaError: a pool whose count of examples is missing or does not suit its tokens, unless ``seq_len`` is
            set; or files of several kinds.
        """
        counts = [self._examples(part) for part in mixture.parts]
        rows = []
        for part, share, count in zip(mixture.parts, mixture.shares, counts, strict=True):
            row = {"pool": part.pool.name} | source(part.pool.name, part.paths)
            row |= {"probability": count / sum(counts), "share": share, "tokens": part.tokens, "epochs": part.epochs}
            rows.append(f"    {row!r},\n")
        tables = f"SEED = {mixture.seed}\nTOKENS = {mixture.tokens}\nEXAMPLES = {round(sum(counts))}\nPOOLS = [\n"
        head = _text.header(mixture, "needs datasets >= 3.3; EXAMPLES hold TOKENS on average")
        return "".join([head, "import datasets\n\n", tables, *rows, "]\n", BODY])

    def _examples(self, part: Part) -> float:
        """Return how many examples hold the part's tokens, on average."""
        if self.seq_len:
            return part.tokens / self.seq_len
        # A wrong count would give wrong probabilities without a word.
        remedy = ", or say how many tokens every row has with --to hf:seq_len=N"
        check_examples([part.pool], "datasets draws examples and not tokens", remedy)
        # Tokens over the mean tokens of an example.
        return part.tokens * (part.pool.examples or 0) / part.pool.tokens
