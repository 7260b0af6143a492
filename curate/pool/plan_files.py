"""Read plan.json and schedule.json: budgets, phases and shares, all checked.

Files of the present format and of the previous one have the fields that are read here.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast, runtime_checkable

from curate.errors import SchemaError, first_few
from curate.pool import baselines
from curate.pool.pool import Budget, Pool, parse_pools
from curate.storage import artifacts
from curate.storage.files import text_hash

SUM_TOLERANCE = 1e-6  # by how much the shares of a file may miss a sum of 1; they are then rescaled exactly


@runtime_checkable
class Recorded(Protocol):
    """A result in memory that can return the content of its file, such as a schedule."""

    def record(self) -> Mapping[str, object]:
        """Return the content of the file."""
        ...


PlanSource = str | Path | Mapping[str, object] | Recorded


@dataclass(frozen=True)
class PlanFile:
    """The content of plan.json or schedule.json.

    ``name`` stands for it in error messages: its path, or words for a result in memory.
    """

    name: str
    record: Mapping[str, object]

    @property
    def has_plans(self) -> bool:
        """Whether this is a plan.json."""
        return "plans" in self.record

    @property
    def pools(self) -> tuple[Pool, ...] | None:
        """The pools that the file holds, or None."""
        if "pools" not in self.record:
            return None
        return parse_pools(self.record, self.name)


@dataclass(frozen=True)
class StoredPhase:
    """A phase of schedule.json: shares by pool, and the fractions of training at which they start and end."""

    start: float
    end: float
    shares: Mapping[str, float]


def open_plan(plan: PlanSource) -> PlanFile:
    """Return the content of plan.json or schedule.json.

    Raises:
        SchemaError: if there is no such file, it is of another kind, or this version does not read its format.
    """
    if isinstance(plan, str | Path):
        path = Path(plan)
        return PlanFile(path.as_posix(), artifacts.load(path, "plan", "schedule"))
    record = plan.record() if isinstance(plan, Recorded) else plan
    if "plans" not in record and "phases" not in record:
        raise SchemaError("the plan in memory has no field 'plans' or 'phases': give a plan or a schedule")
    name = "the plan in memory" if "plans" in record else "the schedule in memory"
    return PlanFile(name, artifacts.check(dict(record), name, "plan", "schedule"))


def pool_names(path: Path) -> tuple[str, ...]:
    """Return the names of the pools in pools.json, plan.json or schedule.json.

    If the file does not hold pools, return the names of those that have a share.
    """
    file = PlanFile(path.as_posix(), artifacts.load(path, "plan", "schedule", "pools"))
    if (pools := file.pools) is not None:
        return tuple(pool.name for pool in pools)
    return tuple(parse_plan(file, 0)[1]) if file.has_plans else tuple(read_stages(file)[0].shares)


def plan_hash(plan: PlanSource) -> str:
    """Return the content hash of a plan or schedule in memory.

    The field ``made_by`` of a result records it in place of the hash of a file.
    """
    return text_hash(json.dumps(open_plan(plan).record, sort_keys=True))


def count_plans(file: PlanFile) -> int:
    """Return the number of plans in plan.json.

    Raises:
        SchemaError: if there are none.
    """
    plans = file.record.get("plans")
    if not (isinstance(plans, list) and plans):
        raise SchemaError(f"{file.name} has no plans: make some with `curate plan`")
    return len(cast(list[object], plans))


def choose_plan(file: PlanFile, index: int | None) -> int:
    """Return the index of the plan to use: ``index``, or 0 if it is None and there is one plan.

    Raises:
        SchemaError: if there are no plans, no plan has this index, or ``index`` is None and there are several plans.
            The message lists them.
    """
    count = count_plans(file)
    # A negative index is refused. It does not count from the end, since it is more likely a mistake.
    if index is not None and 0 <= index < count:
        return index
    if index is None and count == 1:
        return 0
    raise no_such_plan(file.name, [read_plan(file, i)[0] for i in range(count)], index)


def no_such_plan(name: str, budgets: Sequence[Budget], index: int | None) -> SchemaError:
    """Return the error for a wrong ``index``, or for a missing one (None) if there are several plans.

    The message lists the plans. ``name`` is the name of the file, and ``budgets`` are the budgets of its plans.
    """
    plans = (f"{i} is {b.tokens:.4g} tokens, {b.params:.4g} parameters" for i, b in enumerate(budgets))
    listed = first_few(plans, separator="; ")
    problem = f"has {len(budgets)} budgets" if index is None else f"has no budget {index}"
    return SchemaError(f"{name} {problem}: choose one with --budget, where {listed}")


def read_plan(file: PlanFile, index: int) -> tuple[Budget, dict[str, float]]:
    """Return the budget and the shares of one plan, and check that the shares sum to 1."""
    budget, shares = parse_plan(file, index)
    return budget, check_shares(f"plan {index} of {file.name}", shares)


def parse_plan(file: PlanFile, index: int) -> tuple[Budget, dict[str, float]]:
    """Return the budget and the shares of one plan without a check of the shares."""
    where = f"plan {index} of {file.name}"
    try:
        row = cast(Sequence[Mapping[str, Mapping[str, float]]], file.record["plans"])[index]
        budget = Budget(float(row["budget"]["tokens"]), float(row["budget"]["params"]))
        shares = {name: float(share) for name, share in row["weights"].items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise SchemaError(f"{where} cannot be read ({type(error).__name__}: {error}); see `curate plan`") from None
    return budget, shares


def read_stages(file: PlanFile) -> list[StoredPhase]:
    """Return the phases of schedule.json, and check that they follow each other from 0 to 1 of training."""
    phases = file.record["phases"]
    stages: list[StoredPhase] = []
    end = 0.0
    for i, phase in enumerate(cast(list[object], phases) if isinstance(phases, list) else ()):
        where = f"phase {i} of {file.name}"
        stage = _stage(where, phase)
        # The bounds are compared exactly: the file holds the very numbers that the schedule was made of.
        if stage.start != end or not end < stage.end <= 1:
            raise SchemaError(
                f"{where} runs from {stage.start:g} to {stage.end:g}, but the phases before it end at "
                f"{end:g}: make the file again with `curate schedule`"
            )
        stages.append(stage)
        end = stage.end
    if end != 1:
        raise SchemaError(
            f"the phases of {file.name} end at {end:g} of training, not at 1: make it again with `curate schedule`"
        )
    return stages


def _stage(where: str, phase: object) -> StoredPhase:
    try:
        row = cast(Mapping[str, float], phase)
        start, end = float(row["from"]), float(row["to"])
        shares = {name: float(x) for name, x in cast(Mapping[str, float], row["weights"]).items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise SchemaError(f"{where} cannot be read ({type(error).__name__}: {error}); see `curate schedule`") from None
    return StoredPhase(start, end, check_shares(where, shares))


def read_tokens(file: PlanFile) -> int:
    """Return the training tokens of schedule.json."""
    try:
        return round(float(cast(float, file.record["tokens"])))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise SchemaError(
            f"{file.name} has no count of tokens ({type(error).__name__}: {error}); see `curate schedule`"
        ) from None


def check_shares(where: str, shares: dict[str, float]) -> dict[str, float]:
    """Check that each share is 0 or more and that they sum to 1, and return them.

    ``where`` begins the error message.
    """
    total = baselines.share_sum(shares, where)
    if abs(total - 1) > SUM_TOLERANCE:
        raise SchemaError(f"{where} has shares that sum to {total:.9g}: they must sum to 1; plan again")
    return shares
