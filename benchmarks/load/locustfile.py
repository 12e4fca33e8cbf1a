"""Visitors of a shop as locust users: each looks at pages, and what it was shown and clicks on is posted.

``make load`` runs it. Variables: ``RATE`` (pages a second), ``EVENTS`` (an event log, whose users and items are asked
for), ``PLACEMENT``, and ``RECSYS_API_WRITE_KEYS``, of which the first key is sent. A page is one request for a list;
recommendations are followed by a post of their impressions and, at one page in five, of a view of one of them.
"""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any
from urllib.parse import quote

from locust import FastHttpUser, constant_pacing, task
from locust.exception import StopUser

from benchmarks.load.visits import Visit, read_visits

RATE = float(os.environ.get("RATE", "50"))
EVENTS = Path(os.environ.get("EVENTS", "data/landing/retailrocket/events.csv"))
KEY = os.environ.get("RECSYS_API_WRITE_KEYS", "").partition(",")[0].strip()
HEADERS = {"X-API-Key": KEY} if KEY else {}
CLICKED = 0.2
PLACEMENT = os.environ.get("PLACEMENT", "")
"""A place of ``placements.toml``; empty: none is named."""

_visits: list[Visit] = []


class Visitor(FastHttpUser):
    """One visitor at a time; all of them together look at ``RATE`` pages a second."""

    def wait_time(self) -> float:
        """Seconds until the next page, so that the pace holds however long answers take."""
        return constant_pacing(self.environment.runner.target_user_count / RATE)(self)

    def on_start(self) -> None:
        """Read the log once, as ids of the release that is served."""
        if _visits:
            return
        answer = self.client.get("/release", name="/release")
        if answer.status_code != 200:
            raise StopUser(f"{self.host} serves no release: {answer.text}")
        ids = answer.json()["facts"]["ids"]
        _visits.extend(read_visits(EVENTS, ids["user"], ids["item"]))

    @task(10)
    def home(self) -> None:
        """Recommendations for a user of the log."""
        user, _ = random.choice(_visits)
        self._recommended(user)

    @task(3)
    def stranger(self) -> None:
        """Recommendations for a user whom nobody knows."""
        known, _ = random.choice(_visits)
        number = random.randrange(2**40, 2**41)
        self._recommended(number if isinstance(known, int) else f"new-{number}")

    @task(5)
    def product(self) -> None:
        """What goes with an item."""
        _, item = random.choice(_visits)
        self.client.get(f"/similar/{quote(str(item), safe='')}", name="/similar/{item_id}")

    @task(2)
    def front(self) -> None:
        """What is popular."""
        self.client.get("/popular", name="/popular")

    def _recommended(self, user: int | str) -> None:
        place = f"?placement={quote(PLACEMENT)}" if PLACEMENT else ""
        answer = self.client.get(
            f"/recommendations/{quote(str(user), safe='')}{place}", name="/recommendations/{user_id}"
        )
        if answer.status_code != 200:
            return
        body: dict[str, Any] = answer.json()
        shown: list[dict[str, Any]] = [
            {
                "user_id": user,
                "item_id": item["item_id"],
                "event_type": "impression",
                "recommendation_id": body["recommendation_id"],
                "release_id": body["release_id"],
                "position": item["rank"],
                "source": item["source"],
                **({"placement": PLACEMENT} if PLACEMENT else {}),
            }
            for item in body["items"]
        ]
        if not shown:
            return
        self.client.post("/events", json=shown, headers=HEADERS, name="/events (impressions)")
        if random.random() < CLICKED:
            clicked = {**random.choice(shown), "event_type": "view"}
            self.client.post("/events", json=clicked, headers=HEADERS, name="/events (view)")
