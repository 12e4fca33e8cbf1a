"""Ports of loopback for servers of tests."""

from __future__ import annotations

import os
import random
import socket
from pathlib import Path

_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_SPAN = 20_000
_given = set[int]()


def free_port() -> int:
    """A port that nothing listens on, and that nothing else will take before a server of this process does.

    None of those that the system gives to outgoing connections, nor one that was given before: between the choice and
    the server's start, or while a killed server is started again, either may be taken. Workers that test side by side
    choose among different ports.
    """
    first_of_connections = int(_RANGE.read_text().split()[0]) if _RANGE.exists() else 32_768
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    mine = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    lowest = max(1_024, first_of_connections - _SPAN)
    candidates = [port for port in range(lowest, first_of_connections) if port % workers == mine]
    for port in random.SystemRandom().sample(candidates, len(candidates)):
        if port not in _given and _is_free(port):
            _given.add(port)
            return port
    raise RuntimeError(f"no port from {lowest} to {first_of_connections - 1} is free")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
