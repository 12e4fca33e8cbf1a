"""Sends short messages to people; whatever goes wrong with that is a warning and nothing more.

No resource of Dagster's, whose configuration the UI shows: a webhook's address and a bot's token are secrets.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.client import HTTPException
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from pydantic import SecretStr

from recsys_assets.settings import Settings
from recsys_assets.storage.objects import Json

TELEGRAM = "https://api.telegram.org"
_TELEGRAM_LIMIT = 4096
_NOT_SET = SecretStr("")

Warn = Callable[[str], None]


@dataclass(frozen=True)
class Notifier:
    """Sends to a webhook, to a Telegram chat, or to both.

    Attributes:
        webhook_url: gets a JSON document by POST, with the message as ``text``, as Slack and others take it.
        telegram_token: of the bot.
        telegram_chat_id: of the chat that the bot writes to.
        telegram_url: where Telegram is.
        timeout: seconds for each attempt, all included, name look-up too.
        attempts: for each channel.
        pause: seconds between attempts.
    """

    webhook_url: SecretStr = _NOT_SET
    telegram_token: SecretStr = _NOT_SET
    telegram_chat_id: str = ""
    telegram_url: str = TELEGRAM
    timeout: float = 3.0
    attempts: int = 2
    pause: float = 0.5

    @property
    def channels(self) -> list[str]:
        """The channels that are set."""
        telegram = self.telegram_token and self.telegram_chat_id
        return [*(["webhook"] if self.webhook_url else []), *(["Telegram"] if telegram else [])]

    def send(self, text: str, facts: Mapping[str, Json], warn: Warn) -> None:
        """Send a message to every channel; never raises.

        Args:
            text: for people.
            facts: for programs; goes to the webhook.
            warn: called for each channel that could not be reached, without address or token.
        """
        channels = self.channels
        # At the same time: a sensor has a minute for all runs of a tick.
        with ThreadPoolExecutor(max(1, len(channels))) as pool:
            problems = list(pool.map(lambda channel: self._try(channel, text, facts), channels))
        for channel, problem in zip(channels, problems, strict=True):
            if problem is not None:
                warn(f"notification not sent to {channel} after {self.attempts} attempts: {problem}")

    def _try(self, channel: str, text: str, facts: Mapping[str, Json]) -> str | None:
        problem: str | None = None
        for attempt in range(self.attempts):
            if attempt:
                time.sleep(self.pause)
            problem = _within(self.timeout, lambda: self._post(channel, text, facts))
            if problem is None:
                return None
        return problem

    def _post(self, channel: str, text: str, facts: Mapping[str, Json]) -> None:
        if channel == "webhook":
            url, body = self.webhook_url.get_secret_value(), {**facts, "text": text}
        else:
            url = f"{self.telegram_url}/bot{self.telegram_token.get_secret_value()}/sendMessage"
            body = {"chat_id": self.telegram_chat_id, "text": text[:_TELEGRAM_LIMIT], "disable_web_page_preview": True}
        if not url.startswith(("https://", "http://")):
            raise ValueError("address is neither https:// nor http://")
        request = Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})  # noqa: S310
        with urlopen(request, timeout=self.timeout) as answer:  # noqa: S310 (the scheme was checked)
            answer.read(1024)


def notifier_of(settings: Settings) -> Notifier:
    """The notifier that the settings describe; it may have no channel."""
    return Notifier(
        webhook_url=settings.notify_webhook_url,
        telegram_token=settings.telegram_token,
        telegram_chat_id=settings.telegram_chat_id,
    )


def _within(seconds: float, act: Callable[[], None]) -> str | None:
    """Run something for so long at most; returns what went wrong.

    In a thread that is left behind if need be: neither a name look-up nor a server that drips has a time limit.
    """
    problems: list[str] = [f"no answer within {seconds:g} s"]

    def run() -> None:
        try:
            act()
            problems.clear()
        except Exception as error:  # a message that is not sent stops nothing
            problems[:] = [_safe_message(error)]

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    return problems[0] if problems else None


def _safe_message(error: Exception) -> str:
    """What went wrong, without the text of errors that may quote the address."""
    if isinstance(error, HTTPError):
        return f"HTTP {error.code}"
    if isinstance(error, URLError) and isinstance(error.reason, OSError):
        return f"{type(error.reason).__name__}: {error.reason.strerror or 'no connection'}"
    if isinstance(error, (HTTPException, OSError)):
        return type(error).__name__
    return "the address is no valid URL"
