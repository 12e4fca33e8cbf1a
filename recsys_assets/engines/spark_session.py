"""Spark sessions as context managers: on a cluster of this machine, on a master, or over Spark Connect."""

# pyright: reportMissingImports=false
# pyspark comes with the extra 'spark' only.

from __future__ import annotations

import os
import signal
import socket
import tempfile
import threading
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from recsys_assets.engines.spark_java import java_home
from recsys_assets.engines.spark_standalone import ClusterSize, StandaloneCluster

if TYPE_CHECKING:
    from pyspark.sql import SparkSession
    from pyspark.sql.connect.client import DefaultChannelBuilder

_APP = "recsys-assets"
_CONNECT_MODE = "SPARK_CONNECT_MODE_ENABLED"  # makes pyspark.sql.functions and pyspark.ml use Connect


@contextmanager
def standalone_session(size: ClusterSize) -> Generator[SparkSession]:
    """A session on a cluster of this machine that lives as long as the session."""
    cluster = StandaloneCluster(size)
    try:
        with _classic(cluster.url, cluster.environment, {"spark.executor.memory": size.memory}) as session:
            # A driver whose cluster is lost waits for another one forever; a stopped driver fails its jobs.
            cluster.when_lost(session.sparkContext.stop)
            yield session
    finally:
        cluster.stop()


@contextmanager
def master_session(url: str) -> Generator[SparkSession]:
    """A session on the cluster of a master (``spark://host:port``); this process is its driver."""
    with tempfile.TemporaryDirectory(prefix="recsys-java-") as folder:
        java = java_home(Path(folder))
        with _classic(url, {"JAVA_HOME": java} if java else {}, {}) as session:
            yield session


@contextmanager
def connect_session(server: str | DefaultChannelBuilder) -> Generator[SparkSession]:
    """A session over Spark Connect, which needs no Java on this machine.

    Args:
        server: ``sc://host:port/;parameters``, or a builder of the channel to it.
    """
    from pyspark.sql.connect.client import DefaultChannelBuilder
    from pyspark.sql.connect.session import SparkSession

    builder = DefaultChannelBuilder(server) if isinstance(server, str) else server
    with _environment({_CONNECT_MODE: "1"}):
        session = SparkSession.builder.channelBuilder(builder).create()
        try:
            yield session
        finally:
            session.stop()


@contextmanager
def _classic(url: str, environment: Mapping[str, str], options: Mapping[str, str]) -> Generator[SparkSession]:
    from pyspark.sql import SparkSession

    if SparkSession.getActiveSession() is not None:
        raise RuntimeError(
            f"Spark runs one session per process, and this process has one; no session was opened on {url}"
        )
    handler = signal.getsignal(signal.SIGINT)
    with _environment(environment):
        session = SparkSession.builder.master(url).appName(_APP).config(map=dict(options)).getOrCreate()
    # Spark installs its own handler of SIGINT; restore that of the process, which cancels the run.
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, handler)
    try:
        with _cancel_jobs_on_signal(session):
            yield session
    finally:
        _stop(session)


@contextmanager
def _cancel_jobs_on_signal(session: SparkSession) -> Generator[None]:
    """Cancel Spark's jobs when a signal cancels the run.

    A thread that waits for a result is blocked until its job ends; even an exception of a signal handler does not
    interrupt it. So another thread listens for signals, whatever handlers are installed, and cancels the jobs.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread receives signals
        return
    receiver, sender = socket.socketpair()
    sender.setblocking(False)

    def listen() -> None:
        while numbers := receiver.recv(64):
            if {signal.SIGINT, signal.SIGTERM} & set(numbers):
                session.sparkContext.cancelAllJobs()

    listener = threading.Thread(target=listen, name="spark-cancel", daemon=True)
    listener.start()
    before = signal.set_wakeup_fd(sender.fileno(), warn_on_full_buffer=False)
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        sender.close()
        listener.join()
        receiver.close()


def _stop(session: SparkSession) -> None:
    """Stop a classic session and its JVM, which would otherwise live as long as this process."""
    from pyspark import SparkContext

    gateway = SparkContext._gateway  # pyright: ignore[reportPrivateUsage] Spark offers no other way
    session.stop()
    if gateway is not None:
        gateway.shutdown()
        gateway.proc.stdin.close()
        gateway.proc.wait()
    SparkContext._gateway = SparkContext._jvm = None  # pyright: ignore[reportPrivateUsage]


@contextmanager
def _environment(values: Mapping[str, str]) -> Generator[None]:
    """The environment of this process with some values set."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
