"""A Spark cluster on this machine: a master and workers as processes, on loopback, for the lifetime of their user.

A process of its own, the supervisor, owns the cluster. It reads a pipe from the process that started the cluster, and
stops everything when the pipe closes, which the kernel does however that process ends, SIGKILL included. If the
supervisor itself is killed, the kernel ends master and workers (Linux), and executors end with their worker.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from secrets import token_hex
from typing import IO, cast

from recsys_assets.engines.spark_java import java_home

_HOST = "127.0.0.1"
_START_SECONDS = 120.0
_STOP_SECONDS = 10.0
_DEFAULTS: Mapping[str, str] = {
    "spark.authenticate": "true",
    "spark.master.rest.enabled": "false",
    "spark.driver.host": _HOST,
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.log.level": "ERROR",
}
_DIE_WITH_PARENT, _ADOPT_ORPHANS = 1, 36  # PR_SET_PDEATHSIG and PR_SET_CHILD_SUBREAPER of prctl(2)


@dataclass(frozen=True)
class ClusterSize:
    """The size of a cluster.

    Args:
        workers: number of worker processes, whose executors have one core each.
        memory: per worker, in Spark's notation, such as "2g".
    """

    workers: int = 2
    memory: str = "2g"


class StandaloneCluster:
    """A running cluster; :meth:`stop` ends it, and so does the end of this process.

    Args:
        size: see :class:`ClusterSize`.

    Raises:
        RuntimeError: the cluster did not start; with the end of its log.
    """

    def __init__(self, size: ClusterSize):
        self.size = size
        self.folder = Path(tempfile.mkdtemp(prefix="recsys-spark-"))
        """For logs and spilled data; removed when the cluster stops."""
        self.environment = _environment(self.folder, size)
        """Environment variables of a driver that joins the cluster."""
        self._stopped = False
        self._watcher: threading.Thread | None = None
        arguments = [str(self.folder), str(size.workers), size.memory]
        self._supervisor = subprocess.Popen(  # noqa: S603 our own module
            [sys.executable, "-m", __name__, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=self.environment,
            start_new_session=True,  # Ctrl-C goes to the run, which then stops its cluster properly
        )
        self.url = cast("IO[str]", self._supervisor.stdout).readline().strip()
        """``spark://host:port``."""
        if not self.url:
            self.stop()
            raise RuntimeError(
                f"the Spark cluster did not start: its supervisor exited with {self._supervisor.returncode}"
            )

    def when_lost(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` in a thread of its own as soon as the cluster has ended without :meth:`stop`."""

        def wait() -> None:
            cast(
                "IO[str]", self._supervisor.stdout
            ).read()  # nothing more is printed: this returns when the supervisor ends
            if not self._stopped:
                callback()

        self._watcher = threading.Thread(target=wait, name="spark-cluster-watch", daemon=True)
        self._watcher.start()

    def stop(self) -> None:
        """End every process of the cluster."""
        self._stopped = True
        cast("IO[str]", self._supervisor.stdin).close()
        self._supervisor.wait()
        if self._watcher:
            self._watcher.join()
        cast("IO[str]", self._supervisor.stdout).close()


def supervise(folder: Path, size: ClusterSize) -> None:
    """Run a cluster until standard input closes; prints its address. The main function of the supervisor."""
    _prctl(_ADOPT_ORPHANS, 1)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _interrupt)
    started: list[subprocess.Popen[bytes]] = []
    try:
        port = _free_port()
        master = ["master.Master", "--host", _HOST, "--port", str(port), "--webui-port", "0"]
        started.append(_spawn(master, folder / "master.log"))
        _await_port(port, started[0], folder / "master.log")
        url = f"spark://{_HOST}:{port}"
        for number in range(size.workers):
            arguments = ["worker.Worker", "--host", _HOST, "--webui-port", "0", "--cores", "1"]
            arguments += ["--memory", size.memory, "--work-dir", str(folder / f"worker-{number}"), url]
            started.append(_spawn(arguments, folder / f"worker-{number}.log"))
        print(url, flush=True)  # noqa: T201 this line is the supervisor's answer
        sys.stdin.read()
    finally:
        _end_processes(started)
        shutil.rmtree(folder, ignore_errors=True)


def _environment(folder: Path, size: ClusterSize) -> Mapping[str, str]:
    """The environment of every process of the cluster."""
    spec = find_spec("pyspark")
    if spec is None or spec.origin is None:
        raise RuntimeError("RECSYS_ENGINE=spark: expected pyspark, found none; install 'recsys-assets[spark]'")
    java = java_home(folder)
    defaults = {
        **_DEFAULTS,
        # Two partitions per core for every driver: with Spark's default of 200, small frames would be all overhead.
        "spark.sql.shuffle.partitions": str(2 * size.workers),
        # Other users of this machine can reach the cluster's ports, so clients need a secret. It is in a
        # file that only this user can read: an environment or a command line would show it.
        "spark.authenticate.secret": token_hex(16),
    }
    (folder / "spark-defaults.conf").write_text("".join(f"{key} {value}\n" for key, value in defaults.items()))
    return {
        **os.environ,
        **({"JAVA_HOME": java} if java else {}),
        "SPARK_HOME": str(Path(spec.origin).parent),
        "SPARK_CONF_DIR": str(folder),
        "SPARK_LOCAL_IP": _HOST,
        "SPARK_LOCAL_DIRS": str(folder),
        "SPARK_DAEMON_MEMORY": "256m",
        "SPARK_DAEMON_JAVA_OPTS": "-XX:+UseSerialGC",
        "PYSPARK_PYTHON": sys.executable,
    }


def _spawn(command_line: list[str], log: Path) -> subprocess.Popen[bytes]:
    start, *arguments = command_line
    command = [f"{os.environ['SPARK_HOME']}/bin/spark-class", f"org.apache.spark.deploy.{start}", *arguments]
    with log.open("wb") as stream:
        return subprocess.Popen(  # noqa: S603 Spark's own script
            command, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, preexec_fn=_die_with_supervisor
        )


def _await_port(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection((_HOST, port), 1.0):
            return
        time.sleep(0.1)
    raise RuntimeError(f"Spark's master did not start: {log.read_text(errors='replace')[-2000:]}")


def _end_processes(started: list[subprocess.Popen[bytes]]) -> None:
    """End the processes and their descendants: by SIGTERM, then by SIGKILL."""
    for process in reversed(started):
        process.terminate()
    deadline = time.monotonic() + _STOP_SECONDS
    while _reap() and time.monotonic() < deadline:
        time.sleep(0.05)
    while children := _children():
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        _reap()
        time.sleep(0.05)


def _reap() -> bool:
    """Reap ended children, adopted ones included; returns whether any is left."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return False
    return True


def _children() -> list[int]:
    """Children of this process, including adopted orphans of the cluster."""
    listing = Path(f"/proc/self/task/{os.getpid()}/children")
    return [int(word) for word in listing.read_text().split()] if listing.exists() else []


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        return cast("int", probe.getsockname()[1])


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        cast("Callable[[int, int], int]", ctypes.CDLL(None).prctl)(option, value)


def _die_with_supervisor() -> None:
    _prctl(_DIE_WITH_PARENT, signal.SIGKILL)


def _interrupt(number: int, frame: object) -> None:
    raise SystemExit(128 + number)


if __name__ == "__main__":
    supervise(Path(sys.argv[1]), ClusterSize(int(sys.argv[2]), sys.argv[3]))
