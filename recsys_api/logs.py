"""Log lines of the server as text or as JSON, one object a line, on standard output and error as uvicorn has them."""

from __future__ import annotations

import copy
import logging
from datetime import UTC, datetime
from typing import Any, Literal

import orjson
from uvicorn.config import LOGGING_CONFIG


class JsonLines(logging.Formatter):
    """Formats a record as a JSON object: time, level, logger, and its fields or else its message."""

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record."""
        fields: dict[str, Any] | None = getattr(record, "fields", None)
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            **({"message": record.getMessage()} if fields is None else fields),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return orjson.dumps(line, default=str).decode()


def log_config(form: Literal["text", "json"]) -> dict[str, Any]:
    """The configuration of logging for uvicorn.

    Uvicorn's own access log is left out: it holds whole paths, and with them ids of users. The application logs each
    request by the template of its route.
    """
    config = copy.deepcopy(LOGGING_CONFIG)
    if form == "json":
        for formatter in config["formatters"]:
            config["formatters"][formatter] = {"()": "recsys_api.logs.JsonLines"}
    return config
