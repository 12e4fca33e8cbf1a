"""Random numbers for names that must not be given twice and that guard nothing.

The system's own cost a call in which other threads run: while one of them writes events, the caller waits long for its
turn to go on. A generator that the system seeds once costs none.
"""

from __future__ import annotations

import os
import random

_generator = random.Random()
os.register_at_fork(after_in_child=_generator.seed)  # else forked workers would give the same names


def random_bits(count: int) -> int:
    """A random number of so many bits. Processes that are forked have a generator each."""
    return _generator.getrandbits(count)
