"""Pool and Budget: the small types where the data half and the planning half of the program meet."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import isfinite
from pathlib import Path

from curate.errors import SchemaError
from curate.storage.files import read_text


@dataclass(frozen=True)
class Pool:
    """A set of training examples that is sampled as one.

    ``tokens`` are unique tokens (> 0), ``examples`` rows, ``where`` the Parquet, JSONL or Arrow paths. ``filter`` maps
    a column to the value its rows have; ``score`` maps a score column to the half-open range [low, high) they lie in.
    ``scores`` and ``kept`` are the folders of the score and decision files that say which rows those are.
    """

    name: str
    tokens: float
    examples: int
    where: tuple[str, ...] = ()
    filter: Mapping[str, str] | None = None
    score: Mapping[str, tuple[float | None, float | None]] | None = None
    scores: str | None = None
    kept: str | None = None
    cost_per_token: float | None = None

    def __post_init__(self) -> None:
        """Check that the pool has something in it."""
        if not (isfinite(self.tokens) and self.tokens > 0):
            raise SchemaError(f"pool {self.name!r} has {self.tokens} tokens: a pool needs a positive, finite count")


@dataclass(frozen=True)
class Budget:
    """A training budget: ``tokens`` seen (repeats counted) by a model of ``params`` parameters."""

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
        return 6.0 * self.tokens * self.params


def parse_budget(text: str) -> Budget:
    """Read ``TOKENS:PARAMS``, for example ``2e10:1e9``."""
    tokens, _, params = text.partition(":")
    try:
        return Budget(float(tokens), float(params))
    except ValueError:
        raise SchemaError(f"budget {text!r} is not TOKENS:PARAMS: write for example 2e10:1e9") from None


def to_json(pools: Sequence[Pool]) -> list[dict[str, object]]:
    """Return pools as the ``pools`` list of pools.json."""
    rows: list[dict[str, object]] = []
    for pool in pools:
        row = asdict(pool)
        row["where"] = list(pool.where)
        row["score"] = None if pool.score is None else {k: list(v) for k, v in pool.score.items()}
        optional = ("scores", "kept", "cost_per_token")
        rows.append({k: v for k, v in row.items() if k not in optional or v is not None})
    return rows


def load_pools(path: Path) -> tuple[Pool, ...]:
    """Read pools.json; names must be unique."""
    try:
        rows = json.loads(read_text(path))["pools"]
        pools = tuple(
            Pool(
                name=row["name"],
                tokens=row["tokens"],
                examples=row["examples"],
                where=tuple(row.get("where") or ()),
                filter=row.get("filter"),
                score={k: (v[0], v[1]) for k, v in row["score"].items()} if row.get("score") else None,
                scores=row.get("scores"),
                kept=row.get("kept"),
                cost_per_token=row.get("cost_per_token"),
            )
            for row in rows
        )
    except FileNotFoundError:
        raise SchemaError(f"no such file: {path}; make it with `curate pools`") from None
    except (KeyError, TypeError, ValueError) as error:
        raise SchemaError(f"{path} is not a pools.json ({type(error).__name__}: {error}); see `curate pools`") from None
    counts = [pool.name for pool in pools]
    if repeated := sorted({name for name in counts if counts.count(name) > 1}):
        raise SchemaError(f"{path} names pool {repeated[0]!r} twice: give every pool its own name")
    if not pools:
        raise SchemaError(f"{path} has no pools: score and prune some data first")
    return pools
