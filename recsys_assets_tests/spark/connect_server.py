"""A Spark Connect server on loopback, with two cores of this machine behind it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path

from recsys_assets.engines.spark_java import java_home
from recsys_assets_tests.spark.processes import until


@contextmanager
def connect_server(folder: Path) -> Generator[str]:
    """Run a server, with its log in a folder; gives ``sc://host:port``."""
    spec, java, log = find_spec("pyspark"), java_home(folder), folder / "connect.log"
    assert spec is not None
    assert spec.origin is not None
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [f"{Path(spec.origin).parent}/bin/spark-class", "org.apache.spark.deploy.SparkSubmit"]
    command += ["--class", "org.apache.spark.sql.connect.service.SparkConnectServer", "--master", "local[2]"]
    for setting in (
        f"spark.connect.grpc.binding.port={port}",
        "spark.connect.grpc.binding.address=127.0.0.1",
        "spark.driver.host=127.0.0.1",
        "spark.ui.enabled=false",
        "spark.sql.shuffle.partitions=4",
    ):
        command += ["--conf", setting]
    environment = {**os.environ, **({"JAVA_HOME": java} if java else {}), "PYSPARK_PYTHON": sys.executable}
    with log.open("wb") as stream:
        server = subprocess.Popen([*command, "spark-internal"], env=environment, stdout=stream, stderr=stream)

    def answers() -> bool:
        assert server.poll() is None, log.read_text()
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1.0):
            return True
        return False

    try:
        until(answers, 300.0, "the Connect server listens")
        yield f"sc://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait()
