"""Three replicas of the API behind nginx, on one PostgreSQL and one bucket; tests run in the order of this file."""

from __future__ import annotations

import gzip
import itertools
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Self
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from recsys_assets.cli.services import Service, wait_until_ready
from recsys_assets_tests.api.publishing import Content, publish
from recsys_assets_tests.postgres_server import create_database, postgres_server
from recsys_assets_tests.s3_servers import S3Server, boto3_client, with_new_bucket
from recsys_assets_tests.stack.asking import KEY, eventually
from recsys_assets_tests.stack.replicas import again, nginx_before, replicas_of

pytestmark = pytest.mark.stack

COUNT = 3
MOST_CONNECTIONS = 24
USERS = range(100)


def content(number: int) -> Content:
    """Lists that say which release they are of."""
    items = [1000 * number + n for n in range(20)]
    return Content(dict.fromkeys(USERS, items), {}, {"all": items})


@dataclass(frozen=True)
class Site:
    """The replicas, and what they share."""

    replicas: list[Service]
    nginx: Service
    bucket: S3Server

    @property
    def store(self) -> str:
        """Where releases are."""
        return f"s3://{self.bucket.bucket}/store"

    @property
    def url(self) -> str:
        """Where clients ask."""
        return self.nginx.url

    def of_each(self, path: str) -> list[Any]:
        """What each replica answers."""
        return [ask(service.url + path) for service in self.replicas]

    def came_back(self) -> list[str]:
        """Ids of the events that have become landing files."""
        client, name = boto3_client(self.bucket.options), self.bucket.bucket
        listed = client.list_objects_v2(Bucket=name, Prefix="landing/served/events-").get("Contents", [])
        bodies = [client.get_object(Bucket=name, Key=one["Key"])["Body"].read() for one in listed]
        return [json.loads(line)["event_id"] for body in bodies for line in gzip.decompress(body).splitlines()]


@pytest.fixture(scope="module")
def site(moto_process: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Three replicas that serve a release."""
    bucket, password = with_new_bucket(moto_process), "a-password-of-the-tests"
    with pytest.MonkeyPatch.context() as patch, ExitStack() as until:
        for name in [name for name in os.environ if name.startswith(("RECSYS_", "AWS_", "PG"))]:
            patch.delenv(name)
        patch.setenv("AWS_ENDPOINT_URL", str(bucket.options.endpoint))
        patch.setenv("AWS_REGION", "us-east-1")
        patch.setenv("AWS_ACCESS_KEY_ID", "any")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "any")
        publish(f"s3://{bucket.bucket}/store", "2015-08-01", content(1))
        settings = {
            "RECSYS_STORAGE_URI": f"s3://{bucket.bucket}/store",
            "RECSYS_LANDING_URI": f"s3://{bucket.bucket}/landing",
            "RECSYS_EVENTS_URL": create_database(until.enter_context(postgres_server(password)), password, "events"),
            "RECSYS_API_WRITE_KEYS": KEY,
            "RECSYS_API_POLL_SECONDS": "0.3",
            "RECSYS_API_EXPORT_SECONDS": "0.5",
            "RECSYS_API_MAX_CLIENT_CONNECTIONS": str(MOST_CONNECTIONS),
        }
        folder = tmp_path_factory.mktemp("replicas")
        replicas = until.enter_context(replicas_of(folder, COUNT, settings))
        yield Site(replicas, until.enter_context(nginx_before(replicas, folder / "nginx")), bucket)


def ask(url: str, body: Any = None) -> Any:
    """A JSON document: of a path, or what is answered to another document."""
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json", "X-API-Key": KEY}
    with urlopen(Request(url, data, headers), timeout=30) as answer:
        return json.load(answer)


def views(user: int, ids: list[str]) -> list[dict[str, Any]]:
    """Events of a user."""
    return [{"user_id": user, "item_id": 1001, "event_type": "view", "event_id": one} for one in ids]


def ids_of(answer: Any) -> list[str]:
    """Which events a replica knows of a user."""
    return [event["event_id"] for event in answer["events"]]


class Visitors:
    """Ask and post through nginx without a pause, a connection for each request."""

    def __init__(self, url: str, user: int) -> None:
        self._url, self._user = url, user
        self.releases: list[str] = []
        self.failures: list[str] = []
        self.acknowledged: list[str] = []
        self.repeated = 0
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=work) for work in (self._read, self._read, self._post)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def _read(self) -> None:
        for user in itertools.cycle(USERS):
            if self._ended.wait(0.01):
                return
            try:
                answer = ask(f"{self._url}/recommendations/{user}?k=5")
                (of_items,) = {item["item_id"] // 1000 for item in answer["items"]}
                self.releases.append(f"{answer['release_id']} has {of_items}")
            except (OSError, ValueError) as error:
                self.failures.append(repr(error))

    def _post(self) -> None:
        number = 0
        while not self._ended.wait(0.01):
            body = views(self._user, [f"of-{self._user}-{number}"])
            try:
                self.acknowledged += ask(f"{self._url}/events", body)["event_ids"]
                number += 1
            except HTTPError as error:  # the same event goes again, as docs/deployment.md says
                self.repeated += 1
                if error.code != 502:
                    self.failures.append(repr(error))


def test_events_posted_through_any_replica_are_read_through_all(site: Site) -> None:
    posted: list[str] = []
    for number, service in enumerate(site.replicas):
        posted += ask(f"{service.url}/events", views(7, [f"direct-{number}"]))["event_ids"]
        # At once: nothing is kept in a replica.
        assert [sorted(ids_of(answer)) for answer in site.of_each("/events/7")] == [sorted(posted)] * COUNT
    for number in range(4 * COUNT):
        posted += ask(f"{site.url}/events", views(7, [f"through-nginx-{number}"]))["event_ids"]
    assert [sorted(ids_of(answer)) for answer in site.of_each("/events/7")] == [sorted(posted)] * COUNT
    for service in site.replicas:
        assert service.log.read_text().count("POST /events") >= 4, "each has its share"
    # One of them writes what all have taken.
    eventually(lambda: len(site.came_back()) >= len(posted), 60, "the events do not come back")
    assert sorted(site.came_back()) == sorted(posted)


def test_counts_are_for_prometheus_inside(site: Site) -> None:
    with pytest.raises(HTTPError) as refused:
        ask(f"{site.url}/metrics")
    assert refused.value.code == 404
    with urlopen(f"{site.replicas[0].url}/metrics", timeout=10) as answer:
        assert b"recsys_" in answer.read()


def test_another_release_reaches_all_without_a_failed_or_mixed_answer(site: Site) -> None:
    old = ask(f"{site.url}/release")["release_id"]
    with Visitors(site.url, 201) as visitors:
        time.sleep(0.3)
        new = publish(site.store, "2015-08-02", content(2))
        eventually(lambda: {one["release_id"] for one in site.of_each("/release")} == {new}, 30, "not all follow")
        time.sleep(0.3)
    assert (visitors.failures, visitors.repeated) == ([], 0)
    assert set(visitors.releases) == {f"{old} has 1", f"{new} has 2"}


def test_a_replica_whose_connections_are_taken_hides_no_other(site: Site) -> None:
    """Each replica has limits of its own, and to it nginx is one client."""
    first = site.replicas[0]
    host, _, port = first.url.removeprefix("http://").partition(":")
    time.sleep(4.5)  # until nginx has closed those that it has kept: it has to make new ones
    with ExitStack() as until:
        for _ in range(MOST_CONNECTIONS):
            until.enter_context(socket.create_connection((host, int(port))))
        with pytest.raises(HTTPError) as refused:
            ask(f"{first.url}/release")
        assert refused.value.code == 503
        for _ in range(4 * COUNT):
            ask(f"{site.url}/release")


def test_slow_clients_take_no_connections_of_the_replicas(site: Site) -> None:
    host, _, port = site.url.removeprefix("http://").partition(":")
    of_body = "Content-Type: application/json\r\nContent-Length: 1000"
    head = f"POST /events HTTP/1.1\r\nHost: site\r\nX-API-Key: {KEY}\r\n{of_body}\r\n\r\n["
    with ExitStack() as until:
        for _ in range(COUNT * MOST_CONNECTIONS + 1):
            until.enter_context(socket.create_connection((host, int(port)))).sendall(head.encode())
        time.sleep(0.3)
        site.of_each("/release")
        for _ in range(4 * COUNT):
            ask(f"{site.url}/release")


def test_a_replica_that_is_killed_takes_nothing_along(site: Site) -> None:
    killed = site.replicas[1]
    with ExitStack() as until:
        with Visitors(site.url, 202) as visitors:
            eventually(lambda: bool(visitors.releases and visitors.acknowledged), 30, "no answers")
            killed.kill()
            before = len(visitors.releases), len(visitors.acknowledged)
            eventually(
                lambda: len(visitors.releases) > before[0] + 50 and len(visitors.acknowledged) > before[1] + 20,
                30,
                "the others do not go on",
            )
            wait_until_ready(until.enter_context(again(killed)), "/health/ready")
            eventually(lambda: "POST /events" in killed.log.read_text(), 30, "nginx does not come back to it")
        assert visitors.failures == []
        assert visitors.repeated <= 1, "one event at most is under way when a replica goes"
        for stored in site.of_each("/events/202?limit=1000"):
            assert sorted(ids_of(stored)) == sorted(visitors.acknowledged)
