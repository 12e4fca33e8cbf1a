"""The proxy with its own configuration file: TLS for all, a login for what has none of its own."""

from __future__ import annotations

import base64
import http.client
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from recsys_assets.cli.services import Service
from recsys_assets_tests.compose import DOCKER, resolved
from recsys_assets_tests.ports import free_port
from recsys_assets_tests.s3_servers import wait_for
from recsys_assets_tests.stack.running import listens, made_up

pytestmark = pytest.mark.stack


class Upstream(BaseHTTPRequestHandler):
    """Whatever is behind the proxy: says which host it was asked for."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(str(self.headers["Host"]).encode())

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Where the proxy listens, in front of one server that stands for all services."""
    folder, port = tmp_path_factory.mktemp("proxy"), free_port()
    behind = ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
    threading.Thread(target=behind.serve_forever, daemon=True).start()
    text = (DOCKER / "proxy/Caddyfile").read_text()
    names = set(resolved()["services"])
    for line in [line.strip() for line in text.splitlines() if "reverse_proxy " in line]:
        upstream = line.split()[1]
        assert upstream.split(":")[0] in names, upstream
        text = text.replace(f"reverse_proxy {upstream}", f"reverse_proxy 127.0.0.1:{behind.server_port}")
    for inside, here in (("8443", port), ("8080", free_port()), ("2019", free_port())):
        assert inside in text
        text = text.replace(inside, str(here))
    (folder / "Caddyfile").write_text(text)
    hashed = subprocess.run(
        ["caddy", "hash-password", "--plaintext", "open sesame"], capture_output=True, text=True, check=True
    )
    service = resolved({**made_up(), "PROXY_PASSWORD_HASH": hashed.stdout.strip()})["services"]["proxy"]
    command = [word.replace("/etc/caddy", str(folder)) for word in service["command"]]
    environment = {**service["environment"], "HOME": str(folder), "XDG_DATA_HOME": str(folder)}
    with Service("proxy", command, "", folder / "caddy.log", environment):
        wait_for(lambda: listens(port), "proxy")
        yield port
    behind.shutdown()


def ask(port: int, name: str, path: str = "/", login: str = "") -> tuple[int, str]:
    """GET, over TLS, by a name of the proxy."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    connection = http.client.HTTPSConnection("localhost", port, context=context, timeout=20)
    # The name is told in the handshake: the proxy has a certificate for each.
    connection.sock = context.wrap_socket(
        socket.create_connection(("127.0.0.1", port)), server_hostname=f"{name}.localhost"
    )
    headers = {"Host": f"{name}.localhost"}
    if login:
        headers["Authorization"] = f"Basic {base64.b64encode(login.encode()).decode()}"
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


@pytest.mark.parametrize("name", ["dagster", "mlflow", "prometheus", "alertmanager"])
def test_what_has_no_login_of_its_own_gets_one(port: int, name: str) -> None:
    assert ask(port, name)[0] == 401
    assert ask(port, name, login="recsys:wrong")[0] == 401
    assert ask(port, name, login="recsys:open sesame")[0] == 200


def test_the_api_is_open_but_for_its_counts(port: int) -> None:
    assert ask(port, "api", "/recommendations/1") == (200, "api.localhost")
    assert ask(port, "api", "/metrics")[0] == 404
    assert ask(port, "grafana")[0] == 200


def test_mlflow_is_asked_by_the_name_that_it_knows(port: int) -> None:
    status, host = ask(port, "mlflow", login="recsys:open sesame")
    assert status == 200
    assert "localhost" not in host
