"""Write a curriculum as the fields of schedule.json, and warn about repeated data."""

import numpy as np

from curate.errors import SchemaError, first_few
from curate.pool import baselines, repeats
from curate.schedules.phases import Curriculum


def repeat_warnings(curriculum: Curriculum, params: float | None = None) -> tuple[str, ...]:
    """Return warnings about pools that are never drawn, or are repeated too often.

    With ``params``, the number of parameters of the model, a warning says at which fraction of training repeats begin
    to harm the model (see `curate.pool.repeats`).

    Raises:
        SchemaError: if ``params`` is not positive and finite.
    """
    if params is not None and not 0 < params < np.inf:
        raise SchemaError(f"a model of {params:g} parameters: give a positive, finite count")
    passes_of, messages = curriculum.epochs(), []
    if never := [name for name, passes in passes_of.items() if passes == 0]:
        messages.append(f"never drawn: {first_few(never)}")
    for name, passes in passes_of.items():
        # Harm that depends on the size of the model says more than the general limit on passes, and replaces it.
        if params is not None and (harm := repeats.warning(passes - 1, params)):
            start = curriculum.reached(repeats.band(params)[0] + 1)[name]
            messages.append(f"{name}: {harm}; it gets there at {start:.3g} of training")
        elif waste := repeats.spent(passes):
            messages.append(f"{name}: {waste}")
    return tuple(messages)


def to_json(curriculum: Curriculum) -> dict[str, object]:
    """Return a curriculum as the fields of schedule.json.

    ``weights`` are the shares of all training tokens. ``exhausted`` is the fraction of training at which a pool has no
    unseen tokens left, or null if that never happens. ``scalarisation`` gives, for each phase, the weights of the loss
    that have the same effect as its shares if pools are sampled in proportion to their sizes. Use these weights instead
    of the shares, not together with them.
    """
    each = [baselines.scalarisation(curriculum.pools, shares) for shares in curriculum.shares]
    return {
        "tokens": curriculum.tokens,
        "phases": [
            {"from": phase.start, "to": phase.end, "weights": baselines.named(curriculum.pools, row)}
            for phase, row in zip(curriculum.phases, curriculum.shares, strict=True)
        ],
        "weights": curriculum.weights,
        "epochs": curriculum.epochs(),
        "exhausted": curriculum.reached(1.0),
        "variance_factor": curriculum.variance_factor,
        "scalarisation": [
            {
                "variance_factor": phase.variance_factor,
                "loss_weights": baselines.named(curriculum.pools, phase.weights),
            }
            for phase in each
        ],
    }
