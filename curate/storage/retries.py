"""Try a request to a store again where the store, or the way to it, failed for the moment.

In: a function that makes one request. Out: what it returns.
The AWS SDK repeats a request that the store answers with 500 or 503. It does not repeat one whose connection was cut,
and nobody repeats one whose answer is shorter than the store announced: that is done here.
"""

import os
import random
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

# Attempts for one request. With the growing waits of the AWS SDK they take some 40 s. AWS_MAX_ATTEMPTS overrides it.
ATTEMPTS = "8"
FIRST_WAIT = 0.1  # seconds; each wait is twice as long as the one before: 8 attempts wait for 13 s in all
# What libcurl and the SDK say of a connection that broke. The SDK also reports an error inside an answer 200 so.
BROKEN = ("NETWORK_CONNECTION", "curlCode", "INTERNAL_FAILURE")


class ShortAnswer(OSError):
    """The store sent fewer bytes than the object has."""


def attempts() -> int:
    """Return how often one request is made at the most."""
    return max(1, int(os.environ.get("AWS_MAX_ATTEMPTS", ATTEMPTS)))


def is_momentary(error: BaseException) -> bool:
    """Return whether the same request may well succeed a little later, and the SDK has not repeated it."""
    return isinstance(error, ShortAnswer) or (isinstance(error, OSError) and any(word in str(error) for word in BROKEN))


def again(request: Callable[[], T]) -> T:
    """Return ``request()``; call it again, after growing waits, as long as it fails for the moment.

    Only requests that may be made twice are given here: to read, to list, to remove, and to write a whole object.
    """
    last = attempts() - 1
    for attempt in range(last):
        try:
            return request()
        except OSError as error:
            if not is_momentary(error):
                raise
        # Outside the handler, so that a stream that broke is closed before the next attempt. Workers that failed
        # together wait for different times, and do not all come back at once.
        time.sleep(FIRST_WAIT * 2**attempt * random.Random().uniform(0.5, 1.0))
    return request()
