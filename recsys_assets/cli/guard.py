"""Ends a process group when the process that started it is gone, even if that was killed.

A program of its own, started beside each server: it reads its standard input, a pipe that its parent alone holds open.
If the parent says ``done``, there is nothing left to end; if the pipe just closes, the parent is dead.
"""

import os
import signal
import sys
import time

STOP_SECONDS = 8.0


def main() -> None:
    """Wait for the parent; the group is the only argument."""
    group = int(sys.argv[1])
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    if sys.stdin.buffer.read() == b"done":
        return
    try:
        os.killpg(group, signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        while time.monotonic() < deadline:
            os.killpg(group, 0)
            time.sleep(0.1)
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return


if __name__ == "__main__":
    main()
