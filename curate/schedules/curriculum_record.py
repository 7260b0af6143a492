"""What schedule.json says of a curriculum: its fields, and warnings about repeated data."""

import numpy as np

from curate.errors import SchemaError
from curate.pool import baselines, repeats
from curate.schedules.phases import Curriculum


def repeat_warnings(curriculum: Curriculum, params: float | None = None) -> tuple[str, ...]:
    """Return warnings about pools that are never drawn, or repeated too often.

    With ``params``, the size of the model, a warning says at which fraction of training repeats begin to harm it (see
    `curate.pool.repeats`).

    Raises:
        SchemaError: ``params`` is not positive and finite.
    """
    if params is not None and not 0 < params < np.inf:
        raise SchemaError(f"a model of {params:g} parameters: give a positive, finite count")
    passes_of, messages = curriculum.epochs(), []
    if never := [name for name, passes in passes_of.items() if passes == 0]:
        messages.append(f"never drawn: {', '.join(never)}")
    for name, passes in passes_of.items():
        if params is not None and (harm := repeats.warning(passes - 1, params)):
            start = curriculum.reached(repeats.band(params)[0] + 1)[name]
            messages.append(f"{name}: {harm}; it gets there at {start:.3g} of training")
        elif waste := repeats.spent(passes):
            messages.append(f"{name}: {waste}")
    return tuple(messages)


def to_json(curriculum: Curriculum) -> dict[str, object]:
    """Return a curriculum as fields of schedule.json.

    ``weights`` are shares of all tokens. ``exhausted`` is the fraction of training at which the unique tokens of a pool
    are used up, or null. ``scalarisation`` writes each phase as loss weights over size-proportional sampling; they
    replace its shares, and must not be used on top of them.
    """
    each = [baselines.scalarisation(curriculum.pools, shares) for shares in curriculum.shares]
    return {
        "tokens": curriculum.tokens,
        "phases": [
            {"from": phase.start, "to": phase.end, "weights": dict(zip(curriculum.names, row, strict=True))}
            for phase, row in zip(curriculum.phases, curriculum.shares.tolist(), strict=True)
        ],
        "weights": curriculum.weights,
        "epochs": curriculum.epochs(),
        "exhausted": curriculum.reached(1.0),
        "variance_factor": curriculum.variance_factor,
        "scalarisation": [
            {
                "variance_factor": phase.variance_factor,
                "loss_weights": dict(zip(curriculum.names, phase.weights.tolist(), strict=True)),
            }
            for phase in each
        ],
    }
