"""Random numbers for names that must not be given twice and that guard nothing.

The system's own cost a call in which other threads run: while one of them writes events, the caller waits long for its
turn to go on. A generator that the system seeds once costs none.
"""

from __future__ import annotations

import os
import random
from functools import cache


def random_bits(count: int) -> int:
    """A random number of so many bits. Processes that are forked have a generator each."""
    return _generator(os.getpid()).getrandbits(count)


@cache
def _generator(process: int) -> random.Random:
    return random.Random()
