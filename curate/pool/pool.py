"""Define `Pool` and `Budget`, and read and write pools.json.

These two types are all that the part of curate for rows and the part for runs share.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import isfinite
from pathlib import Path

from curate import written_numbers
from curate.errors import SchemaError
from curate.storage import artifacts, completion, schema
from curate.storage.files import text_hash
from curate.storage.forms.pools import PoolForm, PoolsForm


@dataclass(frozen=True)
class Pool:
    """A set of training examples that has one share in every mixture.

    ``tokens`` is the number of unique tokens (> 0), and ``examples`` that of rows, or None. ``where`` lists the
    Parquet, JSONL or Arrow paths. Three fields say which rows of these files belong to the pool: ``filter`` maps a
    column to the value that its rows have, ``score`` maps a score column to the half-open range [low, high) in which
    they lie, and ``scores`` and ``kept`` are the folders of the score and decision files. ``cost_per_token`` is in any
    currency. ``token_counts`` says where the number of tokens is from: ``column`` (the data), ``tokenizer``, or
    ``estimate`` (bytes / 4); None where nothing is recorded.

    Raises:
        SchemaError: if ``tokens`` is not positive and finite.
    """

    name: str
    tokens: float
    examples: int | None = None
    where: tuple[str, ...] = ()
    filter: Mapping[str, str] | None = None
    score: Mapping[str, tuple[float | None, float | None]] | None = None
    scores: str | None = None
    kept: str | None = None
    cost_per_token: float | None = None
    token_counts: str | None = None

    def __post_init__(self) -> None:
        """Check that the pool holds tokens."""
        if not (isfinite(self.tokens) and self.tokens > 0):
            raise SchemaError(f"pool {self.name!r} has {self.tokens} tokens: a pool needs a positive, finite count")


@dataclass(frozen=True)
class Budget:
    """A training budget: ``tokens`` seen (repeats counted) by a model of ``params`` parameters.

    Raises:
        SchemaError: if a count is not positive and finite.
    """

    tokens: float
    params: float

    def __post_init__(self) -> None:
        """Check that both counts are positive."""
        if not (isfinite(self.tokens) and isfinite(self.params) and self.tokens > 0 and self.params > 0):
            raise SchemaError(
                f"budget {self.tokens:g}:{self.params:g} must be TOKENS:PARAMS, both positive, for example 2e10:1e9"
            )

    @property
    def flops(self) -> float:
        """Training compute, 6 * tokens * params (Kaplan et al. 2020)."""
        # Each parameter costs about 2 operations a token forwards, and 4 backwards.
        return 6.0 * self.tokens * self.params


def parse_budget(text: str) -> Budget:
    """Return the budget that is written as ``TOKENS:PARAMS``, for example ``2e10:1e9`` or ``20B:1B``.

    Raises:
        SchemaError: if the text has another form.
    """
    tokens, _, params = text.partition(":")
    try:
        return Budget(written_numbers.number(tokens), written_numbers.number(params))
    except ValueError:
        raise SchemaError(f"budget {text!r} is not TOKENS:PARAMS: write for example 2e10:1e9 or 20B:1B") from None


def to_json(pools: Sequence[Pool]) -> list[dict[str, object]]:
    """Return pools as the list ``pools`` of pools.json. ``examples`` is left out where it is None."""
    rows: list[dict[str, object]] = []
    for pool in pools:
        row = asdict(pool)
        row["where"] = list(pool.where)
        row["score"] = None if pool.score is None else {k: list(v) for k, v in pool.score.items()}
        # Optional fields without a value are left out, and not written as null, so that other files keep their bytes.
        optional = ("examples", "scores", "kept", "cost_per_token", "token_counts")
        rows.append({k: v for k, v in row.items() if k not in optional or v is not None})
    return rows


def load_pools(path: Path) -> tuple[Pool, ...]:
    """Read the pools of pools.json, or of another file with a list ``pools``.

    Raises:
        Unfinished: if the job `prune` has not ended in a folder that the pools name.
        SchemaError: if there is no such file, it is of another kind or of a format that this version does not read, it
            has no pools, or two pools have the same name.
    """
    pools = parse_pools(artifacts.load(path, "pools"), str(path))
    # A pools.json that an earlier prune left is not of the decisions that are being written now.
    for kept in sorted({pool.kept for pool in pools if pool.kept}):
        completion.require(Path(kept), "prune")
    return pools


def parse_pools(record: Mapping[str, object], origin: str) -> tuple[Pool, ...]:
    """Return the pools of a record with a list ``pools``. ``origin`` names the record in error messages."""
    rows = schema.check(record, PoolsForm, origin, artifacts.KINDS["pools"].remedy)["pools"]
    return check_pools(tuple(map(_pool, rows)), origin)


def _pool(row: PoolForm) -> Pool:
    ranges, examples = row.get("score"), row.get("examples")
    return Pool(
        name=row["name"],
        tokens=row["tokens"],
        # A count that is written as 1e6 is a float.
        examples=None if examples is None else int(examples),
        where=tuple(row.get("where") or ()),
        filter=row.get("filter") or None,
        score={column: (low, high) for column, (low, high) in ranges.items()} if ranges else None,
        scores=row.get("scores"),
        kept=row.get("kept"),
        cost_per_token=row.get("cost_per_token"),
        token_counts=row.get("token_counts"),
    )


def check_pools(pools: Sequence[Pool], origin: str) -> tuple[Pool, ...]:
    """Check that there are pools and that no two have the same name, and return them.

    ``origin`` begins the error message.
    """
    names = [pool.name for pool in pools]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise SchemaError(f"{origin} names pool {repeated[0]!r} twice: give every pool its own name")
    if not pools:
        raise SchemaError(f"{origin} has no pools: score and prune some data first")
    return tuple(pools)


def read_pools(pools: str | Path | Iterable[Pool]) -> tuple[Pool, ...]:
    """Return pools from the path of a pools.json, or from pools in memory."""
    if isinstance(pools, str | Path):
        return load_pools(Path(pools))
    return check_pools(tuple(pools), "the list of pools")


def pools_hash(pools: Sequence[Pool]) -> str:
    """Return the content hash of pools in memory.

    The field ``made_by`` of a result records it in place of the hash of a file.
    """
    return text_hash(json.dumps(to_json(pools), sort_keys=True))


# The mean of a pool of whole books is about 1e5 tokens. More than this is a number that somebody put in as a dummy.
MOST_MEAN_TOKENS = 1e6


def check_examples(pools: Sequence[Pool], why: str, remedy: str = "") -> None:
    """Check that the number of examples of every pool is known, and suits its tokens.

    ``why`` says what needs it, and ``remedy`` what else can be done.

    Raises:
        SchemaError: if it is not known, or has a mean of less than one token or over a million tokens an example. The
            message names the first such pool.
    """
    for pool in pools:
        # Zero is no count either, since every pool has tokens.
        if not pool.examples or pool.examples < 0:
            raise SchemaError(
                f'pool {pool.name!r} has no count of examples, and {why}: add "examples", its number of rows, in '
                f"pools.json{remedy}"
            )
        if not 1 <= pool.tokens / pool.examples <= MOST_MEAN_TOKENS:
            raise SchemaError(
                f"pool {pool.name!r} has {pool.tokens:.6g} tokens in {pool.examples} examples, which cannot be, and "
                f'{why}: correct "examples", its number of rows, in pools.json{remedy}'
            )
