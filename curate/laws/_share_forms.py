"""Shared parts of the laws that depend on the domain's share alone: the losses at share 0 and at share 1."""

import math

from curate.errors import CurateError
from curate.laws import Param

LIKELY = (0.7, 5.0)  # nats per token: losses of language models
# Standard deviation of the log loss at share 0 around that of the start model. Share 0 is training on general data
# only. In the published tables such training changed it by 0.02 to 0.1 nats of 2 to 3 (Gu et al. 2024; Ibrahim et al.
# 2024).
ANCHOR = 0.03


def ends(start: float) -> tuple[Param, Param]:
    """Return the losses ``none`` at share 0 and ``full`` at share 1, in nats per token.

    ``start`` is the loss of the start model. It is the centre of the prior for ``none``. 0 means that it is not known.
    """
    near = (start * math.exp(-ANCHOR), start * math.exp(ANCHOR))
    return Param("none", 0.01, 30.0, likely=near if start else LIKELY), Param("full", 0.01, 30.0, likely=LIKELY)


def check_start(name: str, start: float) -> None:
    """Check the loss of the start model: it must be 0 (not known), or within the bounds of ``none``.

    Raises:
        CurateError: if it is neither.
    """
    if start and not 0.05 <= start <= 25:
        raise CurateError(f"law {name}: start={start:g} is not a loss in nats per token. Give one such as 2.5, or 0")
