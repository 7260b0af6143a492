"""Find the keys of a recipe in the signatures of the jobs: the keys of a table are the flags of its command.

In: the name of a table. Out: its keys, with the parameters of the job that they set. There is no list of keys here: a
flag that a job gets is a key of the recipe from then on.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from inspect import Parameter, signature
from typing import cast

from curate.pruning.make_pools import pools
from curate.pruning.prune import prune
from curate.recipe import values
from curate.scoring.score import score
from curate.training_set.job import materialize

JobFunction = Callable[..., object]
# Of every job: a run decides these for all of its steps.
OF_THE_RUN = frozenset("out restart relearn take_over dry_run partial workers".split())


@dataclass(frozen=True)
class StepJob:
    """A job that a run may do: its function, and the parameters that the run itself sets."""

    name: str
    function: JobFunction
    set_by_run: frozenset[str]


SCORE = StepJob("score", score, frozenset({"data", "scorers"}))
PRUNE = StepJob("prune", prune, frozenset({"scores"}))
POOLS = StepJob("pools", pools, frozenset({"scores", "kept"}))
# Pools of a run were scored, and are read as they were scored.
OF_UNSCORED = frozenset({"columns", "text_column", "join", "render"})
MATERIALIZE = StepJob("materialize", materialize, frozenset({"pools"}) | OF_UNSCORED)
# In the order of the steps. The flags of `curate score` are in the table of the data that it reads.
JOBS: Mapping[str, StepJob] = {"data": SCORE, "prune": PRUNE, "pools": POOLS, "materialize": MATERIALIZE}
# The smallest value of each whole number that is not 0, as the commands have it.
LEAST: Mapping[str, int] = {"bins": 1, "shard_rows": 1, "batch_rows": 1}


@dataclass(frozen=True)
class Key:
    """A key of a table: the parameter of the job that it sets, the type of its value, and whether it must be there."""

    name: str
    parameter: str
    annotation: object
    required: bool = False

    def read(self, value: object) -> object:
        """Return the value for the parameter.

        Raises:
            WrongType: if the value has another type, or is too small.
        """
        converted = values.read(value, self.annotation)
        least = LEAST.get(self.name, 0)
        if isinstance(converted, int) and not isinstance(converted, bool) and converted < least:
            raise values.WrongType(f"a whole number from {least} up")
        spelling = SPELLED_OTHERWISE.get(self.name)
        return converted if spelling is None or spelling.convert is None else spelling.convert(converted)


@dataclass(frozen=True)
class OtherSpelling:
    """A flag that its command turns into a parameter of another name, and another type if ``annotation`` is set."""

    parameter: str
    annotation: object = None
    convert: Callable[[object], object] | None = None


def _bytes(megabytes: object) -> object:
    size = int(cast(float, megabytes) * 2**20)
    if size < 1:
        raise values.WrongType("a number above 0")
    return size


SPELLED_OTHERWISE: Mapping[str, OtherSpelling] = {
    "max_document_mb": OtherSpelling("document_bytes", float, _bytes),
    "no_cache": OtherSpelling("cache", bool, lambda value: not value),
    # The name of the flag is that of a function of Python.
    "format": OtherSpelling("format_name"),
}


@cache
def keys(table: str) -> Mapping[str, Key]:
    """Return the keys of a table by name, with underscores, in the order of the parameters of its job."""
    job = JOBS[table]
    other = {spelling.parameter: name for name, spelling in SPELLED_OTHERWISE.items()}
    result = {}
    for parameter in signature(job.function, eval_str=True).parameters.values():
        if parameter.name in job.set_by_run | OF_THE_RUN or not values.takes(parameter.annotation):
            continue
        name = other.get(parameter.name, parameter.name)
        spelling = SPELLED_OTHERWISE.get(name)
        annotation = (spelling.annotation if spelling is not None else None) or parameter.annotation
        # The plan of `materialize` is pools.json, unless the recipe names another.
        required = parameter.default is Parameter.empty and parameter.name != "plan"
        result[name] = Key(name, parameter.name, annotation, required)
    return result
