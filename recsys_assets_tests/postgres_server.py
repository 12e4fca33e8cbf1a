"""A real PostgreSQL server for tests, on a free port of this machine."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import psycopg2

from recsys_assets_tests.ports import free_port

USER = "postgres"


@contextmanager
def postgres_cluster(password: str, port: int) -> Generator[list[str]]:
    """The command of a server that does not run yet; its data last as long as the context.

    Args:
        password: of its superuser, :data:`USER`.
        port: on loopback.
    """
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    assert found, "PostgreSQL's server programs are missing; make test-stack installs them"
    # PostgreSQL refuses to run as root; its Debian package brings a user of its own. setpriv becomes the server, where
    # runuser would stay its parent.
    become = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
    prefix = become if os.geteuid() == 0 else []
    folder = Path(tempfile.mkdtemp(prefix="recsys-postgres-"))
    try:
        (folder / "password").write_text(password)
        if prefix:
            for path in (folder, folder / "password"):
                shutil.chown(path, "postgres")
        data = str(folder / "data")
        initialise = ["-D", data, "-U", USER, "-A", "scram-sha-256", "--pwfile", str(folder / "password")]
        subprocess.run([*prefix, str(found[-1]), *initialise], check=True, capture_output=True)
        server = [*prefix, str(found[-1].with_name("postgres")), "-D", data, "-p", str(port)]
        yield [*server, "-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={folder}"]
    finally:
        shutil.rmtree(folder)


@contextmanager
def postgres_server(password: str) -> Generator[int]:
    """The port of a server, as long as the context lasts."""
    port = free_port()
    with postgres_cluster(password, port) as command, tempfile.TemporaryFile() as log:
        # The server inherits neither a pipe nor a terminal of the tests.
        server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        try:
            wait_until_up(port, password)
            yield port
        finally:
            # Of the server alone: its immediate shutdown, after which it ends its children.
            os.killpg(server.pid, signal.SIGQUIT)
            server.wait()


def wait_until_up(port: int, password: str, seconds: float = 60) -> None:
    """Ask until a server answers."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            psycopg2.connect(host="127.0.0.1", port=port, user=USER, password=password, dbname="postgres").close()
        except psycopg2.OperationalError:
            assert time.monotonic() < deadline, f"PostgreSQL does not answer on port {port}"
            time.sleep(0.1)
        else:
            return


def create_database(port: int, password: str, name: str) -> str:
    """A new database; returns its URL."""
    login = psycopg2.connect(host="127.0.0.1", port=port, user=USER, password=password, dbname="postgres")
    login.autocommit = True
    with contextlib.closing(login), login.cursor() as cursor:
        cursor.execute(f'CREATE DATABASE "{name}"')
    return f"postgresql://{USER}:{password}@127.0.0.1:{port}/{name}"
