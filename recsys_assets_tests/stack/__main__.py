"""``make stack``: every service of docker/compose.yaml as a process of this machine; stays until Ctrl-C.

PostgreSQL and Prometheus are Debian's, the S3 server is moto's and keeps everything in memory. Configuration files,
commands and environment are those of the containers. Passwords are made up; docker/settings.env is read.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from recsys_assets.cli.services import free_port
from recsys_assets_tests.stack.loopback import PORTS
from recsys_assets_tests.stack.running import made_up, stack_in


def main() -> None:
    """Start all, tell where it is, and wait."""
    parser = argparse.ArgumentParser(prog="make stack", description=__doc__)
    parser.add_argument("--sample", action=argparse.BooleanOptionalAction, default=True, help="put the sample in")
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, _interrupt)
    with suppress(KeyboardInterrupt), tempfile.TemporaryDirectory(prefix="recsys-stack-") as name:
        _stay(Path(name), put_sample=asked.sample)


def _stay(folder: Path, *, put_sample: bool) -> None:
    with stack_in(folder, made_up(), {}, lambda service: free_port(PORTS[service])) as stack:
        stack.start_all(_tell)
        if put_sample:
            _tell(stack.once("sample"))
        ports = stack.loopback.ports
        _tell(f"PostgreSQL: 127.0.0.1:{ports['postgres']}; S3: {stack.loopback.address('s3')}; logs: {folder}/logs")
        _tell("Ctrl-C stops all, and removes what was kept")
        signal.pause()


def _tell(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
