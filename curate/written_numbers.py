"""Read numbers as people write them: ``2e10``, or with a suffix, as in ``70M`` and ``1.4T``.

This is the one place with the rules. The command line and run tables read counts of parameters, tokens and examples
through `number`.
"""

import re
from decimal import Decimal

# The letter, and the power of ten that it stands for. B and G both stand for billions.
POWERS = {"k": 3, "m": 6, "b": 9, "g": 9, "t": 12}
SUFFIXED = re.compile(rf"([+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?) ?([{''.join(POWERS)}])", re.IGNORECASE)


def number(text: str) -> float:
    """Return the number that a text is, such as 7e7 for ``70M``. Small and capital letters mean the same.

    Raises:
        ValueError: if the text is not a number.
    """
    text = text.strip()
    suffixed = SUFFIXED.fullmatch(text)
    if suffixed is None:
        return float(text)
    # As a decimal number, so that .07B is exactly 7e7. A product of floats would be 70000000.00000001.
    return float(Decimal(suffixed[1]).scaleb(POWERS[suffixed[2].lower()]))


def numbers(text: str) -> list[float]:
    """Return the numbers in a list that is separated by commas.

    Raises:
        ValueError: if an item is not a number.
    """
    return [number(item) for item in text.split(",")]
