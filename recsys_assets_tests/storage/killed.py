"""Writes that are killed (SIGKILL) when their bytes are on disk and have no name yet; run as a program.

python -m recsys_assets_tests.storage.killed <kind> <folder> <file>
"""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
from pathlib import Path

from recsys_assets.storage.local import LocalStore
from recsys_assets.storage.scratch import temporary_folder

WRITES = ("put", "create", "replace")
"""Kinds of writes to a store."""
TEMPORARY = ("staging-", "staged-", "fetched-", "verifying-", "erasing-", "duckdb-")
"""Kinds of folders for what is not written to a store."""


def killed(kind: str, folder: Path, file: Path) -> None:
    """Let a process die over a file.

    Args:
        kind: one of :data:`WRITES` or :data:`TEMPORARY`.
        folder: root of the store; of temporary folders, what TMPDIR says.
        file: what is written.
    """
    command = [sys.executable, "-m", __name__, kind, str(folder), str(file)]
    died = subprocess.run(command, env={**os.environ, "TMPDIR": str(folder)}, check=False)
    assert died.returncode == -signal.SIGKILL


def main(kind: str, folder: Path, file: Path) -> None:
    """Begin a write of a kind, and die."""
    if kind in TEMPORARY:
        made = temporary_folder(kind)
        shutil.copy(file, made.name)
        os.kill(os.getpid(), signal.SIGKILL)
    store, key = LocalStore(folder), f"assets/killed/dt=2015-05-04/{kind}.parquet"
    etag = None
    if kind == "replace":
        store.put(key, b"before")
        etag = store.get_with_etag(key)[1]
    sync = os.fsync

    def die(descriptor: int) -> None:
        sync(descriptor)
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.kill(os.getpid(), signal.SIGKILL)

    os.fsync = die
    if kind == "put":
        store.put(key, file)
    elif kind == "create":
        store.create(key, file)
    else:
        store.replace(key, file.read_bytes(), etag)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
