"""Starts the services of docker/compose.yaml as processes, in the order that it asks for, and stops them."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

from recsys_assets.cli.services import Service
from recsys_assets_tests.compose import DOCKER, env_file
from recsys_assets_tests.ports import free_port
from recsys_assets_tests.postgres_server import USER, postgres_cluster
from recsys_assets_tests.stack.loopback import PORTS, Loopback

LONG_RUNNING = ("mlflow", "code", "webserver", "daemon", "metrics", "api", "alertmanager", "prometheus", "grafana")
"""What is started after PostgreSQL, the S3 server and the bucket; a service comes after those that it depends on."""
_SECONDS_TO_HEALTH = 300


class Stack:
    """The running services.

    Attributes:
        loopback: the services, as they are here.
        running: those that were started, by name.
        absent: those that cannot run here, and why.
    """

    def __init__(self, loopback: Loopback, variables: Mapping[str, str], until: ExitStack) -> None:
        self.loopback, self.variables = loopback, variables
        self.running: dict[str, Service] = {}
        self.absent: dict[str, str] = {}
        self._commands: dict[str, list[str]] = {}
        self._until = until

    def log(self, name: str) -> Path:
        """Where a service logs."""
        return self.loopback.folder / "logs" / f"{name}.log"

    def run(self, name: str, command: list[str]) -> subprocess.CompletedProcess[str]:
        """Run a command to its end in the environment of a service."""
        environment = {**os.environ, **self.loopback.environment(name)}
        home = self.loopback.home
        return subprocess.run(
            command, cwd=home, env=environment, capture_output=True, text=True, timeout=300, check=False
        )

    def once(self, name: str) -> str:
        """Run a one-shot service; returns what it says.

        Raises:
            RuntimeError: it failed; has what it says.
        """
        done = self.run(name, self.loopback.command(name))
        if done.returncode:
            raise RuntimeError(f"{name}: {done.stdout}{done.stderr}".strip())
        return done.stdout.strip()

    def start(self, name: str, command: list[str] | None = None) -> None:
        """Start a service, or start it again after its end, and wait until it is healthy.

        Args:
            name: of the service.
            command: in place of the container's.
        """
        command = self._commands[name] = command or self._commands.get(name) or self.loopback.command(name)
        service = Service(
            name=name,
            command=command,
            url=self.loopback.address(name) if name in PORTS else "",
            log=self.log(name),
            environment=self.loopback.environment(name),
            folder=self.loopback.home,
        )
        self.running[name] = self._until.enter_context(service)
        self.wait_until_healthy(name)

    def wait_until_healthy(self, name: str) -> None:
        """Wait until the health check that the compose file states passes.

        Raises:
            RuntimeError: it ended, or does not get healthy; has the end of its log.
        """
        deadline = time.monotonic() + _SECONDS_TO_HEALTH
        while True:
            said = "it does not listen"
            if name not in PORTS or listens(self.loopback.ports[name]):
                checked = self.run(name, self.loopback.health(name))
                if checked.returncode == 0:
                    return
                said = checked.stderr[-500:]
            ended = self.running[name].exit_code
            if ended is not None or time.monotonic() > deadline:
                log = self.log(name).read_text(errors="replace")[-3000:]
                raise RuntimeError(f"{name} ended with {ended}, or is not healthy: {said}\n{log}")
            time.sleep(0.5)

    def start_all(self, tell: Callable[[str], None]) -> None:
        """Start everything that can run here, each service once those are healthy that it depends on."""
        tell(self.once("bucket"))
        self.absent = {name: reason for name in LONG_RUNNING if (reason := self.loopback.absent(name))}
        starting: dict[str, Future[None]] = {}
        with ThreadPoolExecutor(len(LONG_RUNNING)) as pool:
            for name in LONG_RUNNING:
                if name not in self.absent:
                    before = [starting[one] for one in self.loopback.depends_on(name) if one in starting]
                    starting[name] = pool.submit(self._start_after, before, name)
            for name in LONG_RUNNING:
                if name in self.absent:
                    tell(f"{name}: not started, {self.absent[name]}")
                else:
                    starting[name].result()
                    tell(f"{name}: {self.loopback.address(name) if name in PORTS else 'runs'}")

    def _start_after(self, before: Sequence[Future[None]], name: str) -> None:
        for one in before:
            one.result()
        self.start(name)


def made_up() -> dict[str, str]:
    """Variables of the compose file with passwords and keys of this time."""
    example = env_file(DOCKER / ".env.example")
    return {name: secrets.token_hex(12) if value == "change-me" else value for name, value in example.items()}


def listens(port: int) -> bool:
    """Whether something does on a port of loopback."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def stack_in(
    folder: Path,
    variables: Mapping[str, str],
    more: Mapping[str, str],
    port: Callable[[str], int] = lambda _: free_port(),
) -> Generator[Stack]:
    """PostgreSQL with its roles, and an S3 server; everything is stopped at the end.

    Args:
        folder: for all files.
        variables: of the compose file.
        more: further settings of the platform.
        port: where a service listens.
    """
    with ExitStack() as until:
        stack = Stack(Loopback.make(folder, variables, port, more), variables, until)
        stack.once("check")
        ports = stack.loopback.ports
        database = until.enter_context(postgres_cluster(variables["POSTGRES_PASSWORD"], ports["postgres"]))
        stack.start("postgres", database)
        _make_roles(ports["postgres"], variables)
        # Its health check is that of another server.
        command = [sys.executable, "-m", "recsys_assets_tests.moto_server", str(ports["s3"])]
        environment = {"PYTHONPATH": str(DOCKER.parent)}
        s3 = Service("s3", command, stack.loopback.address("s3"), stack.log("s3"), environment)
        until.enter_context(s3)
        deadline = time.monotonic() + 60
        while not listens(ports["s3"]):
            if s3.exit_code is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the S3 server does not start: {stack.log('s3').read_text()[-2000:]}")
            time.sleep(0.2)
        yield stack


def _make_roles(port: int, variables: Mapping[str, str]) -> None:
    """What PostgreSQL's image does with docker/postgres when its volume is new."""
    command = ["psql", "-h", "127.0.0.1", "-p", str(port), "-U", USER, "-d", "postgres", "-v", "ON_ERROR_STOP=1"]
    environment = {**os.environ, **variables, "PGPASSWORD": variables["POSTGRES_PASSWORD"]}
    for path in sorted((DOCKER / "postgres").glob("*.sql")):
        done = subprocess.run([*command, "-q", "-f", str(path)], env=environment, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{path.name}: {done.stderr}")
