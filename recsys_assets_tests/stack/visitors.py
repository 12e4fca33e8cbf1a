"""Visitors of the stack's API: what they ask and post."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Sequence
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError

from recsys_assets_tests.stack.asking import get, post
from recsys_assets_tests.stack.running import Stack


def view(number: int) -> dict[str, Any]:
    """An event of a user whom no file names."""
    return {"user_id": 77_000 + number, "item_id": number + 1, "event_type": "view", "event_id": f"view-{number}"}


def visit(stack: Stack, users: Sequence[int]) -> None:
    """A moment of traffic: lists, impressions and clicks, an answer without items, a wrong request."""
    for user in users:
        answer = get(stack, f"/recommendations/{user}?k=6")
        event = {"user_id": user, "placement": "cart", "recommendation_id": answer["recommendation_id"]}
        shown = [{**event, "item_id": item["item_id"], "source": item["source"]} for item in answer["items"]]
        post(stack, "/events", [{**item, "event_type": "impression"} for item in shown])
        post(stack, "/events", [{**shown[0], "event_type": "view"}])
    assert get(stack, f"/recommendations/{users[0]}?filter=depth%20%3E%201000")["items"] == []
    with contextlib.suppress(HTTPError):
        get(stack, "/popular?k=0")


class Visitor:
    """Asks the API and posts events without a pause, and keeps what was answered."""

    def __init__(self, stack: Stack) -> None:
        self.failures: list[str] = []
        self.answers = 0
        self.stored: set[str] = set()
        self._stack = stack
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._visit)

    def __enter__(self) -> Visitor:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _visit(self) -> None:
        number = 1000
        while not self._ended.wait(0.3):
            try:
                # As a proxy does: a connection that a dying worker has held is tried once more.
                for last in (False, True):
                    try:
                        assert get(self._stack, f"/recommendations/{number}")["items"]
                        break
                    except (ConnectionError, HTTPException):
                        if last:
                            raise
                self.answers += 1
            except (OSError, HTTPException, AssertionError) as error:
                self.failures.append(f"{type(error).__name__}: {error}")
            with contextlib.suppress(OSError, HTTPException):
                self.stored.update(post(self._stack, "/events", [view(number)])["event_ids"])
                number += 1
