"""S3 servers that tests start for themselves: moto's, from PyPI, and Ceph's, from Debian.

Both listen on loopback only, keep everything in a temporary folder or in memory, and are stopped by their process ids.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from recsys_assets.storage.s3_options import S3Options
from recsys_assets_tests.ports import free_port
from recsys_assets_tests.processes import end

BUCKET = "recsys-tests"
REGION = "us-east-1"

CEPH_CONF = """
[global]
fsid = {fsid}
mon host = v2:127.0.0.1:{mon_port}
mon initial members = a
auth cluster required = none
auth service required = none
auth client required = none
# Without keys there is no secure mode, which the gateway would ask for.
ms mon client mode = crc
public addr = 127.0.0.1
cluster addr = 127.0.0.1
run dir = {folder}
admin socket =
log file = {folder}/$name.log
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 1
osd crush chooseleaf type = 0
mon allow pool size one = true
# The disk under a temporary folder may be small or nearly full; nothing here is worth refusing writes for.
mon data avail crit = 1
[mon.a]
mon data = {folder}/mon
[osd.0]
osd data = {folder}/osd
osd objectstore = memstore
memstore device bytes = 1073741824
[client]
rgw frontends = beast endpoint=127.0.0.1:{port} tcp_nodelay=1
"""


@dataclass(frozen=True)
class S3Server:
    """A running server with an empty bucket."""

    options: S3Options
    bucket: str = BUCKET


@contextmanager
def moto_server() -> Generator[S3Server]:
    """moto's server in a process of its own. It keeps conditional writes, but does not check signatures."""
    port = free_port()
    command = [sys.executable, "-m", "recsys_assets_tests.moto_server", str(port)]
    with tempfile.TemporaryDirectory(prefix="moto-") as folder, process(command, Path(folder, "moto.out")) as running:
        yield ready_server(port, running)


@contextmanager
def ceph_server() -> Generator[S3Server]:
    """A Ceph of one monitor, one OSD in memory and one S3 gateway; ``ceph/install.sh`` installs what it needs."""
    with tempfile.TemporaryDirectory(prefix="ceph-") as name, ExitStack() as stack:
        folder, fsid, port, mon_port = Path(name), str(uuid.uuid4()), free_port(), free_port()
        for part in ("mon", "osd"):
            (folder / part).mkdir()
        conf = ["-c", str(folder / "ceph.conf")]
        (folder / "ceph.conf").write_text(
            CEPH_CONF.format(fsid=fsid, folder=folder, port=port, mon_port=mon_port), encoding="utf-8"
        )
        monmap, osd_id = str(folder / "monmap"), str(uuid.uuid4())

        def start(*command: str) -> subprocess.Popen[bytes]:
            return stack.enter_context(process([*command, *conf, "-f"], folder / f"{command[0]}.out"))

        run("monmaptool", "--create", "--fsid", fsid, "--addv", "a", f"[v2:127.0.0.1:{mon_port}]", monmap)
        run("ceph-mon", *conf, "--mkfs", "-i", "a", "--monmap", monmap)
        start("ceph-mon", "-i", "a")
        run("ceph", *conf, "osd", "new", osd_id)
        run("ceph-osd", *conf, "-i", "0", "--mkfs", "--osd-uuid", osd_id)
        start("ceph-osd", "-i", "0")
        keys = {"access-key": secrets.token_hex(8), "secret-key": secrets.token_hex(16)}
        user = ("--uid", "tests", "--display-name", "tests", *(f"--{name}={key}" for name, key in keys.items()))
        run("radosgw-admin", *conf, "user", "create", *user)
        gateway = start("radosgw", "-n", "client.admin")
        yield ready_server(port, gateway, keys["access-key"], keys["secret-key"])


def ready_server(
    port: int, running: subprocess.Popen[bytes], access_key: str = "any", secret_key: str = "any"
) -> S3Server:
    """Wait until a server answers, and make the bucket."""
    server = S3Server(S3Options(f"http://127.0.0.1:{port}", REGION, access_key, secret_key))

    def made() -> bool:
        if running.poll() is not None:
            raise RuntimeError(f"{running.args} ended with {running.returncode}")
        try:
            boto3_client(server.options).create_bucket(Bucket=server.bucket)
        except (BotoCoreError, ClientError):
            return False
        return True

    wait_for(made, f"an S3 server on port {port}")
    return server


def with_new_bucket(server: S3Server) -> S3Server:
    """The same server, with an empty bucket."""
    bucket = f"{BUCKET}-{uuid.uuid4()}"
    boto3_client(server.options).create_bucket(Bucket=bucket)
    return replace(server, bucket=bucket)


def boto3_client(options: S3Options):
    """A client beside the code under test: to make buckets, to look at requests."""
    return boto3.client(
        "s3",
        endpoint_url=options.endpoint,
        region_name=options.region,
        aws_access_key_id=options.access_key_id,
        aws_secret_access_key=options.secret_access_key,
        config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 0}, connect_timeout=2),
    )


def run(*command: str) -> None:
    """A step of a set-up. Ceph's tools wait for ever for a cluster that does not answer, so each gets a minute."""
    result = subprocess.run(["timeout", "60", *command], capture_output=True, text=True, check=False)
    if result.returncode:
        raise RuntimeError(f"{command[0]} ended with {result.returncode}: {result.stderr[-2000:]}")


@contextmanager
def process(command: Sequence[str], log: Path) -> Generator[subprocess.Popen[bytes]]:
    """A process for the length of a context."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    env["MOTO_S3_DEFAULT_MAX_KEYS"] = "50"  # short pages of listings, so that a test needs few objects for several
    with log.open("wb") as out:
        started = subprocess.Popen(command, stdout=out, stderr=out, env=env, start_new_session=True)
    try:
        yield started
    finally:
        end(started, 5)


def wait_for(done: Callable[[], bool], what: str, seconds: float = 60) -> None:
    """Ask until it is so, or fail naming it."""
    end = time.monotonic() + seconds
    while not done():
        if time.monotonic() > end:
            raise TimeoutError(f"no {what} after {seconds:.0f} s")
        time.sleep(0.1)
