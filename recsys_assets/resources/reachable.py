"""Whether a database or a server can be reached, asked in seconds before a client with its own patience is."""

from __future__ import annotations

import socket
import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote, urlsplit

_PORTS = {"http": 80, "https": 443, "postgresql": 5432, "mysql": 3306, "mssql": 1433}


def probe(uri: str, timeout: float = 3.0) -> None:
    """Open a connection to what an address names, and close it.

    Args:
        uri: ``sqlite:///<path>``, or an address with a host.
        timeout: seconds.

    Raises:
        OSError: nobody answers.
        sqlite3.Error: the file is no database, or cannot be made.
    """
    if uri.startswith("sqlite:///"):
        path = Path(uri.removeprefix("sqlite:///"))
        path.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(path, timeout=timeout)) as database:
            database.execute("PRAGMA schema_version")
        return
    parts = urlsplit(uri)
    if parts.hostname:
        port = parts.port or _PORTS.get(parts.scheme.partition("+")[0], 80)
        socket.create_connection((parts.hostname, port), timeout).close()


def without_password(text: str, uri: str) -> str:
    """A text in which the password of an address is not to be read."""
    password = urlsplit(uri).password
    for secret in {password, unquote(password)} if password else ():
        text = text.replace(secret, "***")
    return text
