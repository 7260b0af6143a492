"""One plan of plan.json in whole tokens a pool: what trainers' configs and planned training sets are made from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from pathlib import Path
from typing import cast

from curate import artifacts
from curate.counts import apportion
from curate.errors import SchemaError
from curate.pools import Budget, Pool, load_pools

SUM_TOLERANCE = 1e-6  # of a plan's shares; they are normalised exactly


@dataclass(frozen=True)
class Part:
    """What training takes from one pool: ``tokens`` seen (repeats counted, > 0), of data that lies at ``paths``.

    ``guessed``: nobody said where the data lies; the path is a trainer's usual place with the pool's name in it.
    """

    pool: Pool
    tokens: int
    paths: tuple[str, ...] = ()
    guessed: bool = False

    @property
    def epochs(self) -> float:
        """Passes over the pool's unique tokens."""
        return self.tokens / self.pool.tokens


@dataclass(frozen=True)
class Mixture:
    """The parts of a training set, in the order of the pools; ``left_out``: pools that get no token.

    ``origin`` says in one line which plan this is; ``seed`` is for the trainer's own draws.
    """

    parts: tuple[Part, ...]
    left_out: tuple[str, ...]
    params: float
    origin: str
    seed: int = 0

    @property
    def tokens(self) -> int:
        """Tokens of training: the exact sum of the parts'."""
        return sum(part.tokens for part in self.parts)

    @property
    def shares(self) -> tuple[float, ...]:
        """(parts,) shares of training tokens; they sum to 1 up to rounding."""
        return tuple(part.tokens / self.tokens for part in self.parts)


def load(
    path: Path,
    index: int | None = None,
    *,
    pools: Sequence[Pool] | None = None,
    min_share: float = 0.0,
    seed: int = 0,
) -> Mixture:
    """Read the plan with that index (from 0) of plan.json; ``pools`` where the file does not hold them.

    Pools under ``min_share`` are left out and the others scaled to fill their place.

    Errors: another kind of file, no such plan (the budgets are listed), shares that are no mixture or that name pools
    that are not there.
    """
    record = artifacts.load(path, "plans")
    if pools is None and "pools" not in record:
        raise SchemaError(f"{path} does not hold its pools: give the pools.json it was planned with by --pools")
    known = {pool.name: pool for pool in (load_pools(path) if pools is None else pools)}
    chosen = _choose(path, record["plans"], index)
    where = f"plan {chosen} of {path}"
    budget, shares = _read(where, cast(list[object], record["plans"])[chosen])
    if unknown := [name for name in shares if name not in known]:
        raise SchemaError(
            f"{where} has a pool {unknown[0]!r} that is not among the pools: {', '.join(sorted(known))}; give the "
            "pools.json it was planned with"
        )
    if max(shares.values()) < min_share:
        raise SchemaError(f"{where} has no pool with a share of {min_share:g} or more: lower --min-share")
    taken = {name: shares.get(name, 0.0) for name in known}
    counts = apportion([share if share >= min_share else 0.0 for share in taken.values()], round(budget.tokens))
    parts = tuple(Part(known[name], count) for name, count in zip(taken, counts, strict=True) if count)
    left_out = tuple(name for name, count in zip(taken, counts, strict=True) if not count)
    if not parts:
        raise SchemaError(f"{where} has {budget.tokens:g} tokens: there is nothing to train on")
    origin = f"plan {chosen} of {path.as_posix()}: {round(budget.tokens):,} tokens, {budget.params:.4g} parameters"
    return Mixture(parts, left_out, budget.params, origin, seed)


def locate(mixture: Mixture, paths: Mapping[str, Sequence[str]], usual: str, reads: Sequence[str] = ()) -> Mixture:
    """Return the mixture with a path for every part.

    ``paths`` come first. Then a pool's own ``where``, if it is the whole pool (no filter, score range or decisions
    say which rows count) in files whose names end with one of ``reads``. Else ``usual``, with ``{pool}`` filled in.
    """
    placed = []
    for part in mixture.parts:
        if given := tuple(paths.get(part.pool.name, ())):
            placed.append(replace(part, paths=given, guessed=False))
        elif _whole(part.pool) and part.pool.where and all(p.endswith(tuple(reads)) for p in part.pool.where):
            placed.append(replace(part, paths=part.pool.where, guessed=False))
        else:
            placed.append(replace(part, paths=(usual.replace("{pool}", part.pool.name),), guessed=True))
    return replace(mixture, parts=tuple(placed))


def _whole(pool: Pool) -> bool:
    return pool.filter is None and pool.score is None and pool.scores is None and pool.kept is None


def _choose(path: Path, plans: object, index: int | None) -> int:
    if not (isinstance(plans, list) and plans):
        raise SchemaError(f"{path} has no plans in its field 'plans': make it with `curate plan`")
    if index is not None and 0 <= index < len(plans):
        return index
    if index is None and len(plans) == 1:
        return 0
    budgets = "; ".join(f"{i} is {_named(f'plan {i} of {path}', plan)}" for i, plan in enumerate(plans))
    said = f"has {len(plans)} budgets" if index is None else f"has no budget {index}"
    raise SchemaError(f"{path} {said}: choose one with --budget, where {budgets}")


def _named(where: str, plan: object) -> str:
    budget, _ = _read(where, plan)
    return f"{budget.tokens:.4g} tokens, {budget.params:.4g} parameters"


def _read(where: str, plan: object) -> tuple[Budget, dict[str, float]]:
    """Return the budget and the shares of one plan."""
    try:
        row = cast(Mapping[str, Mapping[str, float]], plan)
        budget = Budget(float(row["budget"]["tokens"]), float(row["budget"]["params"]))
        shares = {name: float(share) for name, share in row["weights"].items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise SchemaError(f"{where} cannot be read ({type(error).__name__}: {error}); see `curate plan`") from None
    for name, share in shares.items():
        if not (isfinite(share) and share >= 0):
            raise SchemaError(f"{where} gives pool {name!r} the share {share:g}: shares must lie in [0, 1]; plan again")
    if not abs(sum(shares.values()) - 1) <= SUM_TOLERANCE:
        raise SchemaError(f"{where} has shares that sum to {sum(shares.values()):.9g}: they must sum to 1; plan again")
    return budget, shares
