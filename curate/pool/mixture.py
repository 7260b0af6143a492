"""A plan, a schedule, or a phase of one, as whole tokens of every pool.

The configs of trainers and the planned training sets are made from these counts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from curate.errors import SchemaError, first_few
from curate.pool import plan_files
from curate.pool.plan_files import PlanFile, PlanSource
from curate.pool.pool import Pool
from curate.pool.rounding import apportion

# What trainers read as patterns of several files; and the slash of other systems, which may lead out of a folder too.
WILD = "*?[]{}\\"


@dataclass(frozen=True)
class Part:
    """What training takes from one pool: ``tokens`` seen (repeats counted, > 0) of the data at ``paths``.

    ``guessed`` is true if nobody said where the data lies; the path is then the trainer's usual place with the pool's
    name in it. ``phases`` lists (from, to, tokens) for the fractions of training in which the pool is drawn. It is
    empty if the pool is drawn evenly all through training.
    """

    pool: Pool
    tokens: int
    paths: tuple[str, ...] = ()
    guessed: bool = False
    phases: tuple[tuple[float, float, int], ...] = ()

    @property
    def epochs(self) -> float:
        """Passes over the unique tokens of the pool."""
        return self.tokens / self.pool.tokens


@dataclass(frozen=True)
class Mixture:
    """The parts of a training set, in the order of the pools. Pools without a token are in ``left_out``.

    ``params`` is the model size of the plan; a schedule has none. ``origin`` says in one line which plan this is.
    ``seed`` is for the trainer's own draws. ``ends`` are the fractions of training at which the phases end.
    """

    parts: tuple[Part, ...]
    left_out: tuple[str, ...]
    params: float | None
    origin: str
    seed: int = 0
    ends: tuple[float, ...] = (1.0,)

    @property
    def tokens(self) -> int:
        """Training tokens: the exact sum over the parts."""
        return sum(part.tokens for part in self.parts)

    @property
    def shares(self) -> tuple[float, ...]:
        """(parts,) shares of training tokens; they sum to 1 up to rounding."""
        return tuple(part.tokens / self.tokens for part in self.parts)


@dataclass(frozen=True)
class PhaseCounts:
    """Tokens of every pool (counts, in the order of the pools) from one fraction of training to another."""

    start: float
    end: float
    counts: Sequence[int]


@dataclass(frozen=True)
class PlanReader:
    """How to turn a plan into tokens.

    ``pools`` are by name. Pools with a share under ``min_share`` are left out. ``seed`` is for the trainer's own draws.
    """

    pools: Mapping[str, Pool]
    min_share: float
    seed: int

    def counts(self, where: str, shares: Mapping[str, float], tokens: int) -> list[int]:
        """Return the tokens of every pool, which sum to ``tokens``."""
        if unknown := [name for name in shares if name not in self.pools]:
            raise SchemaError(
                f"{where} has a pool {unknown[0]!r} that is not among the pools: "
                f"{first_few(sorted(self.pools), near=unknown[0])}; give "
                "the pools.json that it was made with"
            )
        # Otherwise all shares would become zero, and there would be nothing to split.
        if max(shares.values()) < self.min_share:
            raise SchemaError(f"{where} has no pool with a share of {self.min_share:g} or more: lower --min-share")
        # A pool that the plan does not name gets no tokens, but keeps its place in the order.
        ordered = [shares.get(name, 0.0) for name in self.pools]
        return apportion([share if share >= self.min_share else 0.0 for share in ordered], tokens)

    def mixture(self, where: str, phases: Sequence[PhaseCounts], origin: str) -> Mixture:
        """Return the mixture of all phases together."""
        parts, left_out = [], []
        for k, pool in enumerate(self.pools.values()):
            # A phase in which a pool has less than one token does not draw from it.
            stretches = tuple((phase.start, phase.end, phase.counts[k]) for phase in phases if phase.counts[k])
            tokens = sum(count for _, _, count in stretches)
            if tokens:
                # A single phase says nothing about when a pool is drawn.
                parts.append(Part(pool, tokens, phases=stretches if len(phases) > 1 else ()))
            else:
                left_out.append(pool.name)
        if not parts:
            raise SchemaError(f"{where} has less than one token: there is nothing to train on")
        ends = tuple(phase.end for phase in phases)
        return Mixture(tuple(parts), tuple(left_out), None, origin, self.seed, ends)


def load(
    plan: PlanSource,
    index: int | None = None,
    *,
    phase: int | None = None,
    pools: Sequence[Pool] | None = None,
    min_share: float = 0.0,
    seed: int = 0,
) -> Mixture:
    """Return one plan of plan.json, or all or one phase of schedule.json, in whole tokens.

    ``index`` chooses the plan and ``phase`` the phase, both from 0. ``plan`` is the path of the file, its content, or a
    result in memory. ``pools`` are needed where the file does not hold them. Pools with a share (of the phase) under
    ``min_share`` are left out, and the others are scaled to fill their place.

    Raises:
        SchemaError: another kind of file, no such plan or phase (the message lists them), shares that are no mixture,
            or a share of an unknown pool.
    """
    file = plan_files.open_plan(plan)
    stored = file.pools if pools is None else pools
    if stored is None:
        raise SchemaError(f"{file.name} does not hold its pools: give the pools.json that it was made with by --pools")
    reader = PlanReader({pool.name: pool for pool in stored}, min_share, seed)
    if file.has_plans:
        if phase is not None:
            raise SchemaError(f"{file.name} is a plan and has no phases: leave out --phase")
        return _planned(reader, file, index)
    if index is not None:
        raise SchemaError(f"{file.name} is a schedule and has no budgets: leave out --budget")
    return _scheduled(reader, file, phase)


def _planned(reader: PlanReader, file: PlanFile, index: int | None) -> Mixture:
    chosen = plan_files.choose_plan(file, index)
    where = f"plan {chosen} of {file.name}"
    budget, shares = plan_files.read_plan(file, chosen)
    tokens = round(budget.tokens)
    origin = f"{where}: {tokens:,} tokens, {budget.params:.4g} parameters"
    phases = [PhaseCounts(0.0, 1.0, reader.counts(where, shares, tokens))]
    return replace(reader.mixture(where, phases, origin), params=budget.params)


def _scheduled(reader: PlanReader, file: PlanFile, phase: int | None) -> Mixture:
    """Return a schedule: every phase gets its part of the tokens, and every pool its part of the phase."""
    stages, tokens = plan_files.read_stages(file), plan_files.read_tokens(file)
    if phase is not None and not 0 <= phase < len(stages):
        listed = "; ".join(f"{i} is {stage.start:g} to {stage.end:g}" for i, stage in enumerate(stages))
        raise SchemaError(f"{file.name} has no phase {phase}: choose one with --phase, where {listed} of training")
    # The tokens are split twice, over phases and then over pools, so that both sums are exact.
    lengths = apportion([stage.end - stage.start for stage in stages], tokens)
    phases = [
        PhaseCounts(stage.start, stage.end, reader.counts(f"phase {i} of {file.name}", stage.shares, length))
        for i, (stage, length) in enumerate(zip(stages, lengths, strict=True))
    ]
    if phase is None:
        return reader.mixture(file.name, phases, f"{file.name}: {tokens:,} tokens in {len(phases)} phases")
    chosen, where = phases[phase], f"phase {phase} of {file.name}"
    origin = f"{where}: {chosen.start:g} to {chosen.end:g} of {tokens:,} tokens"
    # A phase that is exported alone is the whole training of its file.
    return reader.mixture(where, [replace(chosen, start=0.0, end=1.0)], origin)


def locate(mixture: Mixture, paths: Mapping[str, Sequence[str]], usual: str, reads: Sequence[str] = ()) -> Mixture:
    """Return the mixture with paths for every part.

    The ``paths`` of a pool come first. Next comes its own ``where``, if these files hold nothing but the pool and their
    names end with one of ``reads``. Otherwise the path is ``usual`` with ``{pool}`` filled in, and counts as guessed.
    """
    placed = []
    for part in mixture.parts:
        if chosen := tuple(paths.get(part.pool.name, ())):
            placed.append(replace(part, paths=chosen, guessed=False))
        # With no endings in ``reads`` this is always false, since no name ends with one of none.
        elif _whole(part.pool) and part.pool.where and all(p.endswith(tuple(reads)) for p in part.pool.where):
            placed.append(replace(part, paths=part.pool.where, guessed=False))
        else:
            placed.append(replace(part, paths=(filled(usual, part.pool.name),), guessed=True))
    return replace(mixture, parts=tuple(placed))


def filled(pattern: str, name: str) -> str:
    """Return a path for all pools, such as ``data/{pool}/*.npy``, with the name of one pool in the place of ``{pool}``.

    Raises:
        SchemaError: if the name would lead to another folder, or name several.
    """
    unfit = [
        *(letter for letter in name if letter in WILD or not letter.isprintable()),
        *(part or "//" for part in f"/{name}/".split("/")[1:-1] if part in ("", ".", "..")),
        *("-" for first in name[:1] if first == "-"),
    ]
    if unfit:
        why = f"the {unfit[0]!r} in its name cannot stand" if name else "an empty name cannot stand"
        raise SchemaError(
            f"pool {name!r} has no path of its own, and {why} in {pattern!r}. Say where its data lies with --path "
            "POOL=PATH"
        )
    return pattern.replace("{pool}", name)


def _whole(pool: Pool) -> bool:
    """Return whether every row of the pool's files belongs to it."""
    return pool.filter is None and pool.score is None and pool.scores is None and pool.kept is None
