"""What the laws in the domain's share alone have in common: their losses at both ends, anchored at the start model."""

import math

from curate.errors import CurateError
from curate.laws import Param

LIKELY = (0.7, 5.0)  # nats per token: losses of language models
# Log loss at share 0, after training on general data alone, is within so much of the start's (one standard deviation).
# In the published tables such training changed it by 0.02 to 0.1 nats of 2 to 3 (Gu et al. 2024; Ibrahim et al. 2024).
ANCHOR = 0.03


def ends(start: float) -> tuple[Param, Param]:
    """Return the losses ``none`` at share 0 and ``full`` at share 1, in nats per token.

    ``start`` is the loss of the start model, to which ``none`` is drawn; 0 if it is not known.
    """
    near = (start * math.exp(-ANCHOR), start * math.exp(ANCHOR))
    return Param("none", 0.01, 30.0, likely=near if start else LIKELY), Param("full", 0.01, 30.0, likely=LIKELY)


def check_start(name: str, start: float) -> None:
    """Check that a start's loss can be one: 0 (not known), or within the bounds of ``none``.

    Raises:
        CurateError: if it cannot.
    """
    if start and not 0.05 <= start <= 25:
        raise CurateError(f"law {name}: start={start:g} is no loss of a start model in nats per token, such as 2.5")
