"""Loading the graph for a command."""

from __future__ import annotations

import gc
from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def kept() -> Generator[None]:
    """Load what stays until the end, and look for no garbage in it, neither now nor later.

    Python would look through Dagster and the graph again and again, for 0.4 CPU seconds while they are loaded, and then
    in all that follows.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
