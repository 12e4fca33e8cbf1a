"""Replicas of the API, each with a home of its own, behind nginx with the configuration of docker/nginx."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from recsys_assets.cli.services import Service, wait_until_ready
from recsys_assets_tests.compose import DOCKER
from recsys_assets_tests.ports import free_port
from recsys_assets_tests.s3_servers import wait_for
from recsys_assets_tests.stack.running import listens

_MAIN = """
daemon off;
{user}
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 1024; }}
http {{
	access_log off;
	client_body_temp_path {folder}/bodies;
	proxy_temp_path {folder}/answers;
	fastcgi_temp_path {folder}/fastcgi;
	uwsgi_temp_path {folder}/uwsgi;
	scgi_temp_path {folder}/scgi;
	{more}
	include {folder}/api.conf;
}}
"""
_REPLICA = re.compile(r"\tserver api-\d+:8000 (?P<options>.*;)\n")


@contextmanager
def replicas_of(folder: Path, count: int, settings: Mapping[str, str]) -> Generator[list[Service]]:
    """Start replicas of one worker each; they are ready.

    Args:
        folder: for the homes, copies of releases and logs.
        count: of replicas.
        settings: of the API, for each.
    """
    with ExitStack() as until:
        services = [until.enter_context(_replica(folder / f"replica-{n}", settings)) for n in range(count)]
        for service in services:
            wait_until_ready(service, "/health/ready")
        yield services


@contextmanager
def nginx_before(services: Sequence[Service], folder: Path, more: str = "") -> Generator[Service]:
    """Start nginx in front of replicas.

    Args:
        services: the replicas.
        folder: for its files.
        more: for its http block.
    """
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    _configure(folder, port, [service.url.removeprefix("http://") for service in services], more)
    command = ["nginx", "-p", str(folder), "-e", str(folder / "error.log"), "-c", str(folder / "nginx.conf")]
    with Service("nginx", command, f"http://127.0.0.1:{port}", folder / "nginx.log") as nginx:
        wait_for(lambda: listens(port), f"nginx; see {folder}")
        yield nginx


def again(service: Service) -> Service:
    """A replica that has ended, to be started at its address."""
    return Service(service.name, service.command, service.url, service.log, service.environment, service.folder)


def _replica(home: Path, settings: Mapping[str, str]) -> Service:
    home.mkdir(parents=True)
    port = free_port()
    own = {"RECSYS_API_CACHE_DIR": str(home / "copies"), "HOME": str(home), "TMPDIR": str(home)}
    command = [sys.executable, "-m", "recsys_api", "--port", str(port), "--workers", "1"]
    return Service(home.name, command, f"http://127.0.0.1:{port}", home / "api.log", {**settings, **own}, home)


def _configure(folder: Path, port: int, addresses: Sequence[str], more: str) -> None:
    """Write the file that the project has, with the addresses of this time, and one that includes it."""
    text = (DOCKER / "nginx/api.conf").read_text()
    found = list(_REPLICA.finditer(text))
    lines = [f"\tserver {address} {found[0]['options']}\n" for address in addresses]
    text = text[: found[0].start()] + "".join(lines) + text[found[-1].end() :]
    assert "listen 8080;" in text
    (folder / "api.conf").write_text(text.replace("listen 8080;", f"listen 127.0.0.1:{port};"))
    # Started by root, its workers would be another user, who may not enter the folder.
    user = "user root;" if os.geteuid() == 0 else ""
    (folder / "nginx.conf").write_text(_MAIN.format(folder=folder, user=user, more=more))
