"""Repeats what a network or a busy server broke off, with growing pauses, until an outage of a minute is over."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

_LOG = logging.getLogger(__name__)

Result = TypeVar("Result")


@dataclass(frozen=True)
class Retries:
    """When a call is repeated. The pauses of :data:`PATIENT` add up to 64 seconds at least, and to 107 at most.

    Attributes:
        first: seconds of the first pause, on average; each further one is twice as long …
        longest: … up to this.
        pauses: how many there are.
        jitter: share by which a pause is shorter or longer by chance, so that many clients do not come back at once.
        told_after: seconds of waiting after which a line in the log says what is waited for.
    """

    first: float = 0.25
    longest: float = 10.0
    pauses: int = 13
    jitter: float = 0.25
    told_after: float = 3.0

    def seconds(self, chance: Callable[[], float] = random.random) -> Iterator[float]:
        """The pauses; ``chance`` draws from 0 to 1."""
        for n in range(self.pauses):
            yield min(self.first * 2**n, self.longest) * (1 + self.jitter * (2 * chance() - 1))

    def call(self, what: str, do: Callable[[], Result], is_transient: Callable[[Exception], bool]) -> Result:
        """The result of a call, repeated while it fails for a reason that passes.

        Args:
            what: is called, for the log.
            do: the call.
            is_transient: whether an error may be gone at the next attempt; any other is raised at once.

        Raises:
            Exception: the last error of ``do``.
        """
        begun, told = time.monotonic(), 0.0
        for pause in self.seconds():
            try:
                return do()
            except Exception as error:
                if not is_transient(error):
                    raise
                waited = time.monotonic() - begun
                if waited + pause - told >= self.told_after:
                    told = waited + pause
                    _LOG.warning("%s: no success for %.0f s, trying again: %s", what, waited, _in_short(error))
            time.sleep(pause)
        return do()


PATIENT = Retries()
"""For runs and commands: they outlast an outage of a minute."""
BRIEF = Retries(pauses=4)
"""For servers, which go on with what they have and ask again soon: some four seconds."""
MOST_REQUESTS, MOST_SECONDS = 30, 180
"""For engines, which read by clients of their own: their pauses are drawn from nothing up to the full length."""


def _in_short(error: Exception) -> str:
    """The first line of an error, at most 200 characters of it."""
    text = str(error).partition("\n")[0]
    return f"{type(error).__name__}: {text[:200]}"
