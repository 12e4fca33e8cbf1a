"""A real PostgreSQL server for tests, on a free port of this machine."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import psycopg2

USER = "dagster"


def free_port() -> int:
    """A port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def postgres_server(password: str) -> Generator[int]:
    """The port of a server with the user ``dagster``, as long as the context lasts."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    assert found, "PostgreSQL's server programs are missing; make test-stack installs them"
    programs, port = found[-1].parent, free_port()
    # PostgreSQL refuses to run as root; its Debian package brings a user of its own.
    prefix = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    folder = Path(tempfile.mkdtemp(prefix="recsys-postgres-"))
    try:
        (folder / "password").write_text(password)
        if prefix:
            for path in (folder, folder / "password"):
                shutil.chown(path, "postgres")
        data = str(folder / "data")
        initialise = ["-D", data, "-U", USER, "-A", "scram-sha-256", "--pwfile", str(folder / "password")]
        subprocess.run([*prefix, str(programs / "initdb"), *initialise], check=True, capture_output=True)
        control = [*prefix, str(programs / "pg_ctl"), "-D", data, "-w"]
        options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder}"
        # The server inherits neither a pipe nor a terminal of the tests.
        subprocess.run(
            [*control, "-l", str(folder / "log"), "-o", options, "start"], check=True, stdout=subprocess.DEVNULL
        )
        try:
            yield port
        finally:
            subprocess.run([*control, "-m", "immediate", "stop"], check=True, stdout=subprocess.DEVNULL)
    finally:
        shutil.rmtree(folder)


def create_database(port: int, password: str, name: str) -> str:
    """A new database; returns its URL."""
    login = psycopg2.connect(host="127.0.0.1", port=port, user=USER, password=password, dbname="postgres")
    login.autocommit = True
    with contextlib.closing(login), login.cursor() as cursor:
        cursor.execute(f'CREATE DATABASE "{name}"')
    return f"postgresql://{USER}:{password}@127.0.0.1:{port}/{name}"
