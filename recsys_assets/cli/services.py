"""Starts the platform's own servers as child processes and stops all of them again."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

from recsys_assets.cli import guard

_STOP_SECONDS = guard.STOP_SECONDS


class LaunchError(RuntimeError):
    """A server did not come up; the message says why and where its log is."""


@dataclass
class Service:
    """One server in a process group of its own, so that stopping it leaves none of its children behind.

    A guard, :mod:`recsys_assets.cli.guard`, stops the group where this process is killed and cannot do so itself.
    """

    name: str
    command: Sequence[str]
    url: str
    log: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    folder: Path | None = None
    _process: subprocess.Popen[bytes] | None = None
    _guard: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Service:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603 (our own commands)
                self.command,
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env={**os.environ, **self.environment},
                cwd=self.folder,
                start_new_session=True,
            )
        self._guard = subprocess.Popen(  # noqa: S603 (our own program)
            [sys.executable, "-I", "-S", guard.__file__, str(self._process.pid)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ask the group to stop, then make it: a Dagster child that ignores SIGTERM must not outlive us."""
        self._signal(signal.SIGTERM)
        deadline = time.monotonic() + _STOP_SECONDS
        while self._group_lives() and time.monotonic() < deadline:
            time.sleep(0.1)
        self.kill()
        if self._guard:
            self._guard.communicate(b"done")

    def kill(self) -> None:
        """End the group at once, as a machine does that loses its power."""
        self._signal(signal.SIGKILL)
        self._started.wait()

    @property
    def pid(self) -> int:
        """Id of the server's first process, and of its group."""
        return self._started.pid

    @property
    def exit_code(self) -> int | None:
        """Exit code if the server has ended."""
        return self._process.poll() if self._process else None

    @property
    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError(f"{self.name} was never started")
        return self._process

    def _signal(self, number: int) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._started.pid, number)

    def _group_lives(self) -> bool:
        self._started.poll()
        try:
            os.killpg(self._started.pid, 0)
        except ProcessLookupError:
            return False
        return True


def free_port(port: int) -> int:
    """A loopback port; any free one if it is taken (or 0)."""
    with socket.socket() as probe:
        # A port in TIME_WAIT of an earlier run is free for a server, so it must be free for the probe.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def call(url: str, timeout: float = 10.0) -> dict[str, Any]:
    """GET a JSON document."""
    with urlopen(url, timeout=timeout) as response:  # noqa: S310 (our own loopback address)
        return json.load(response)


def wait_until_ready(
    service: Service, path: str, is_so: Callable[[Mapping[str, Any]], bool] = lambda _: True, seconds: float = 120.0
) -> None:
    """Poll a server until it answers with success, and as it should.

    Args:
        service: a running server.
        path: of a JSON document.
        is_so: whether the answer is the one waited for.
        seconds: how long to wait.

    Raises:
        LaunchError: it ended, or did not answer in time.
    """
    deadline = time.monotonic() + seconds
    reason = "no answer yet"
    while time.monotonic() < deadline:
        if service.exit_code is not None:
            raise LaunchError(f"{service.name} ended with code {service.exit_code}; see {service.log}")
        try:
            answer = call(service.url + path, timeout=2)
            if is_so(answer):
                return
            reason = f"it answers {json.dumps(answer)}"
        except (URLError, TimeoutError, ConnectionError) as error:
            reason = str(error)
        time.sleep(0.2)
    raise LaunchError(f"{service.name} was not ready after {seconds:.0f} s ({reason}); see {service.log}")
