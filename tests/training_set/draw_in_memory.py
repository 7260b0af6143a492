"""The order of a training set, computed in memory: what the job must find whatever it cuts its work into."""

import numpy as np

from curate.training_set.ordering.pool_draw import PoolDraw, order_keys, times


def shuffled(keys, epoch):
    """Return the rows in the order of a pass."""
    return order_keys(keys, epoch).argsort(kind="stable")


def plan_draw(pool, keys, tokens, target):
    """Draw full passes, and the rows of a last one that come nearest to the target; the fewest among equals."""
    unique = int(tokens.sum())
    full, rest = divmod(target, unique)
    reachable = np.concatenate([[0], np.cumsum(tokens[shuffled(keys, full)])])
    last = int(np.abs(reachable - rest).argmin())
    return PoolDraw(pool, target, unique, len(keys), full, last, full * unique + int(reachable[last]))


def copies(draw, keys, tokens, phases=()):
    """Yield the rows that each pass takes, in order, and their times."""
    for epoch in range(draw.passes):
        order = shuffled(keys, epoch)[: draw.last if epoch == draw.full else None]
        size = tokens[order]
        before = epoch * draw.unique + np.cumsum(size) - size
        yield order, times(order_keys(keys[order], epoch), size, before, draw, phases)


def ordered(draws, pools, phases=None):
    """Return (pool, pass, row) of every copy in the order of the training set; pools are (keys, tokens)."""
    events = [
        (t, number, epoch, position, int(row))
        for number, (draw, (keys, tokens)) in enumerate(zip(draws, pools, strict=True))
        for epoch, (rows, time) in enumerate(copies(draw, keys, tokens, phases[number] if phases else ()))
        for position, (row, t) in enumerate(zip(rows, time.tolist(), strict=True))
    ]
    return [(number, epoch, row) for _, number, epoch, _, row in sorted(events)]
