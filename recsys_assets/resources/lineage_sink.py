"""Where OpenLineage events go: a file of JSON lines, or an HTTP endpoint."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import unquote, urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from pydantic import SecretStr

from recsys_assets.settings import Settings
from recsys_assets.storage.objects import Json

_REFUSED = frozenset({400, 413, 422})
"""Answers that say that the event is at fault, so that sending it again is of no use."""

Events = Sequence[Mapping[str, Json]]


class NotSentError(RuntimeError):
    """The destination could not be reached; the events are to be sent again."""


class RefusedError(RuntimeError):
    """The destination does not want these events, now or later."""


@dataclass(frozen=True)
class LineageSink:
    """Sends events.

    Attributes:
        url: ``file:///….ndjson`` or ``https://…``, the whole address that takes a POST.
        api_key: sent as bearer token; empty: none.
        attempts: before it gives up.
        pause: seconds before the second attempt, doubled before each further one.
        timeout: seconds for one answer.
    """

    url: SecretStr
    api_key: SecretStr
    attempts: int = 3
    pause: float = 0.5
    timeout: float = 8.0

    def send(self, events: Events) -> None:
        """Send events in their order.

        Raises:
            RefusedError: an event was refused.
            NotSentError: the destination could not be reached in any attempt, or some event was not taken.
        """
        address = urlsplit(self.url.get_secret_value())
        for attempt in range(self.attempts):
            try:
                if address.scheme == "file":
                    return _append(Path(unquote(address.path)), events)
                return self._post(events)
            except (OSError, HTTPException, NotSentError) as error:
                if attempt + 1 == self.attempts:
                    raise NotSentError(_described(error)) from None
                time.sleep(self.pause * 2**attempt)
        return None

    def _post(self, events: Events) -> None:
        headers = {"Content-Type": "application/json"}
        if key := self.api_key.get_secret_value():
            headers["Authorization"] = f"Bearer {key}"
        # A redirect would take the key to another server.
        opener = build_opener(_NoRedirect)
        for event in events:
            request = Request(self.url.get_secret_value(), json.dumps(event).encode(), headers)  # noqa: S310
            try:
                with opener.open(request, timeout=self.timeout) as answer:
                    answer.read(1024)
            except HTTPError as error:
                if error.code in _REFUSED:
                    raise RefusedError(f"answer {error.code}") from None
                raise NotSentError(f"answer {error.code}") from None


def sink_of(settings: Settings) -> LineageSink | None:
    """The destination that the settings name; None: none is.

    Raises:
        ValueError: the address is of another kind.
    """
    url = settings.openlineage_url
    if not url.get_secret_value():
        return None
    parts = urlsplit(url.get_secret_value())
    if not (parts.scheme in ("http", "https") and parts.netloc) and not (parts.scheme == "file" and not parts.netloc):
        raise ValueError("RECSYS_OPENLINEAGE_URL: expected file:///….ndjson or https://… (what was found is secret)")
    return LineageSink(url, settings.openlineage_api_key)


class _NoRedirect(HTTPRedirectHandler):
    def redirect_request(self, *_: Any, **__: Any) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        return None


def _append(path: Path, events: Events) -> None:
    """Append lines that are on disk when this returns; a line that a killed process left unfinished goes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.truncate(_whole(file))
        file.write(b"".join(json.dumps(event).encode() + b"\n" for event in events))
        file.flush()
        os.fsync(file.fileno())


def _whole(file: Any) -> int:
    """Bytes up to the end of the last whole line."""
    end = file.seek(0, os.SEEK_END)
    while end:
        first = max(0, end - 65_536)
        file.seek(first)
        found = file.read(end - first).rfind(b"\n")
        if found >= 0:
            return first + found + 1
        end = first
    return 0


def _described(error: Exception) -> str:
    """What went wrong, without the address."""
    return str(error) if isinstance(error, NotSentError) else f"{type(error).__name__}: {_reason(error)}"


def _reason(error: Exception) -> str:
    reason = getattr(error, "reason", None) or getattr(error, "strerror", None)
    return str(reason or "no reason was given")
