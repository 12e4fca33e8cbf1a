"""``make stack``: every service of docker/compose.yaml as a process of this machine; stays until Ctrl-C.

PostgreSQL and Prometheus are Debian's, the S3 server is moto's and keeps everything in memory. Configuration files,
commands and environment are those of the containers. Passwords are made up; docker/settings.env is read.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import threading
from pathlib import Path

from recsys_assets.cli.services import free_port
from recsys_assets_tests.stack.loopback import PORTS
from recsys_assets_tests.stack.running import made_up, stack_in


def main() -> None:
    """Start all, tell where it is, and wait."""
    parser = argparse.ArgumentParser(prog="make stack", description=__doc__)
    parser.add_argument("--sample", action=argparse.BooleanOptionalAction, default=True, help="put the sample in")
    asked = parser.parse_args()
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())

    def tell(line: str) -> None:
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()

    variables = made_up()
    with tempfile.TemporaryDirectory(prefix="recsys-stack-") as name:
        folder = Path(name)
        with stack_in(folder, variables, {}, lambda service: free_port(PORTS[service])) as stack:
            stack.start_all(tell)
            if asked.sample:
                tell(stack.once("sample"))
            loopback = stack.loopback
            tell(
                f"PostgreSQL: 127.0.0.1:{loopback.ports['postgres']}; S3: {loopback.address('s3')}; logs: {folder}/logs"
            )
            tell("Ctrl-C stops all, and removes what was kept")
            ended.wait()


if __name__ == "__main__":
    main()
