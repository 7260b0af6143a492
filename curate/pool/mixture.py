"""One plan of plan.json, or a schedule.json or one of its phases, in whole tokens a pool: what trainers' configs and
planned training sets are made from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from pathlib import Path
from typing import cast

from curate.errors import SchemaError
from curate.pool.pool import Budget, Pool, load_pools
from curate.pool.rounding import apportion
from curate.storage import artifacts

SUM_TOLERANCE = 1e-6  # of a plan's shares; they are normalised exactly


@dataclass(frozen=True)
class Part:
    """What training takes from one pool: ``tokens`` seen (repeats counted, > 0), of data that lies at ``paths``.

    ``guessed``: nobody said where the data lies; the path is a trainer's usual place with the pool's name in it.
    ``phases``: (from, to, tokens) for the fractions of training in which it is drawn; empty: evenly all through.
    """

    pool: Pool
    tokens: int
    paths: tuple[str, ...] = ()
    guessed: bool = False
    phases: tuple[tuple[float, float, int], ...] = ()

    @property
    def epochs(self) -> float:
        """Passes over the pool's unique tokens."""
        return self.tokens / self.pool.tokens


@dataclass(frozen=True)
class Mixture:
    """The parts of a training set, in the order of the pools; ``left_out``: pools that get no token.

    ``origin`` says in one line which plan this is; ``seed`` is for the trainer's own draws. ``ends``: fractions of
    training at which the phases of a schedule end; a schedule does not say for how many ``params`` it is.
    """

    parts: tuple[Part, ...]
    left_out: tuple[str, ...]
    params: float | None
    origin: str
    seed: int = 0
    ends: tuple[float, ...] = (1.0,)

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
    phase: int | None = None,
    pools: Sequence[Pool] | None = None,
    min_share: float = 0.0,
    seed: int = 0,
) -> Mixture:
    """Read the plan with that index (from 0) of plan.json, or schedule.json, whole or one ``phase`` (from 0) of it.

    ``pools`` where the file does not hold them. Pools under ``min_share`` (of a phase) are left out and the others
    scaled to fill their place.

    Errors: another kind of file, no such plan or phase (they are listed), shares that are no mixture or that name pools
    that are not there.
    """
    record = artifacts.load(path, "plan", "schedule")
    if pools is None and "pools" not in record:
        raise SchemaError(f"{path} does not hold its pools: give the pools.json it was planned with by --pools")
    known = {pool.name: pool for pool in (load_pools(path) if pools is None else pools)}
    if "plans" not in record:
        if index is not None:
            raise SchemaError(f"{path} is a schedule and has no budgets: leave out --budget")
        return _scheduled(path, record, known, phase, min_share, seed)
    if phase is not None:
        raise SchemaError(f"{path} is a plan and has no phases: leave out --phase")
    chosen = _choose(path, record["plans"], index)
    where = f"plan {chosen} of {path}"
    budget, shares = _read(where, cast(list[object], record["plans"])[chosen])
    counts = _counts(where, known, shares, round(budget.tokens), min_share)
    origin = f"plan {chosen} of {path.as_posix()}: {round(budget.tokens):,} tokens, {budget.params:.4g} parameters"
    return replace(_mixture(where, known, [(0.0, 1.0, counts)], origin, seed), params=budget.params)


def _scheduled(
    path: Path, record: Mapping[str, object], known: Mapping[str, Pool], phase: int | None, min_share: float, seed: int
) -> Mixture:
    """Return a schedule: every phase has its part of the tokens, and every pool its part of the phase's."""
    stages = _stages(path, record["phases"])
    try:
        tokens = round(float(cast(float, record["tokens"])))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise SchemaError(
            f"{path} has no count of tokens ({type(error).__name__}: {error}); see `curate schedule`"
        ) from None
    if phase is not None and not 0 <= phase < len(stages):
        listed = "; ".join(f"{i} is {start:g} to {end:g}" for i, (start, end, _) in enumerate(stages))
        raise SchemaError(f"{path} has no phase {phase}: choose one with --phase, where {listed} of training")
    lengths = apportion([end - start for start, end, _ in stages], tokens)
    made = [
        (start, end, _counts(f"phase {i} of {path}", known, shares, length, min_share))
        for i, ((start, end, shares), length) in enumerate(zip(stages, lengths, strict=True))
    ]
    if phase is None:
        origin = f"{path.as_posix()}: {tokens:,} tokens in {len(made)} phases"
        return _mixture(str(path), known, made, origin, seed)
    start, end, counts = made[phase]
    where = f"phase {phase} of {path.as_posix()}"
    origin = f"{where}: {start:g} to {end:g} of {tokens:,} tokens"
    return _mixture(where, known, [(0.0, 1.0, counts)], origin, seed)


def _mixture(
    where: str, known: Mapping[str, Pool], made: Sequence[tuple[float, float, Sequence[int]]], origin: str, seed: int
) -> Mixture:
    """Put together (from, to, tokens a pool) of every phase."""
    parts, left_out = [], []
    for k, pool in enumerate(known.values()):
        phases = tuple((start, end, counts[k]) for start, end, counts in made if counts[k])
        if phases:
            parts.append(Part(pool, sum(count for _, _, count in phases), phases=phases if len(made) > 1 else ()))
        else:
            left_out.append(pool.name)
    if not parts:
        raise SchemaError(f"{where} has less than one token: there is nothing to train on")
    return Mixture(tuple(parts), tuple(left_out), None, origin, seed, tuple(end for _, end, _ in made))


def _counts(
    where: str, known: Mapping[str, Pool], shares: Mapping[str, float], tokens: int, min_share: float
) -> list[int]:
    """Return the tokens of every known pool."""
    if unknown := [name for name in shares if name not in known]:
        raise SchemaError(
            f"{where} has a pool {unknown[0]!r} that is not among the pools: {', '.join(sorted(known))}; give the "
            "pools.json it was planned with"
        )
    if max(shares.values()) < min_share:
        raise SchemaError(f"{where} has no pool with a share of {min_share:g} or more: lower --min-share")
    taken = [shares.get(name, 0.0) for name in known]
    return apportion([share if share >= min_share else 0.0 for share in taken], tokens)


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
    return budget, _checked(where, shares)


def _stages(path: Path, phases: object) -> list[tuple[float, float, dict[str, float]]]:
    """Return (from, to, shares) of every phase of schedule.json, which follow each other from 0 to 1."""
    stages, at = [], 0.0
    for i, phase in enumerate(cast(list[object], phases) if isinstance(phases, list) else ()):
        try:
            row = cast(Mapping[str, float], phase)
            start, end = float(row["from"]), float(row["to"])
            shares = {name: float(x) for name, x in cast(Mapping[str, float], row["weights"]).items()}
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise SchemaError(
                f"phase {i} of {path} cannot be read ({type(error).__name__}: {error}); see `curate schedule`"
            ) from None
        if start != at or not at < end <= 1:
            raise SchemaError(
                f"phase {i} of {path} runs from {start:g} to {end:g}, where {at:g} is reached; schedule again"
            )
        stages.append((start, end, _checked(f"phase {i} of {path}", shares)))
        at = end
    if at != 1:
        raise SchemaError(f"the phases of {path} end at {at:g} of training, not at 1: make it with `curate schedule`")
    return stages


def _checked(where: str, shares: dict[str, float]) -> dict[str, float]:
    for name, share in shares.items():
        if not (isfinite(share) and share >= 0):
            raise SchemaError(f"{where} gives pool {name!r} the share {share:g}: shares must lie in [0, 1]; plan again")
    if not abs(sum(shares.values()) - 1) <= SUM_TOLERANCE:
        raise SchemaError(f"{where} has shares that sum to {sum(shares.values()):.9g}: they must sum to 1; plan again")
    return shares
