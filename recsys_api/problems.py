"""Errors as problem documents (RFC 9457), in answers and in the OpenAPI document.

Every error that the application answers has the media type ``application/problem+json``. An unexpected exception is a
500 that says nothing of what is inside; the server's log has the traceback.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any, cast
from urllib.parse import unquote, urlsplit

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from recsys_api.settings import Settings
from recsys_assets.core.faults import message_of

MEDIA_TYPE = "application/problem+json"
REQUEST_ID = "X-Request-ID"
_SOURCES = ("path", "query", "header", "cookie", "body")
_METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
_REPLACED = ("HTTPValidationError", "ValidationError")
_PATH = re.compile(r"'/[^']*'|(?:\b[a-z0-9]+:/)?(?<![\w.])/(?:[^\s/'\":;,]+/)+[^\s/'\":;,]*")


class Problem(BaseModel):
    """An error (RFC 9457)."""

    model_config = ConfigDict(extra="forbid")

    type: str = Field(description="`about:blank`: the status says what kind of problem it is", examples=["about:blank"])
    title: str = Field(description="the name of the status", examples=["Service Unavailable"])
    status: int = Field(ge=400, le=599, examples=[503])
    detail: str = Field(description="what is wrong in this request, and what would be right")
    instance: str | None = Field(
        default=None, description="the request, by its `X-Request-ID`", examples=["urn:request:5f0c9f3e1b7a4d21"]
    )


class FieldFault(BaseModel):
    """What is wrong with one field."""

    model_config = ConfigDict(extra="forbid")

    field: str = Field(description="name of the parameter or, in a body, path of the field", examples=["event_type"])
    message: str = Field(examples=["expected at most 100"])
    index: int | None = Field(default=None, ge=0, description="position in the list, from 0, where the body is a list")


class InvalidRequest(Problem):
    """A parameter or a field of the body cannot be used."""

    errors: list[FieldFault] = Field(description="each field at fault")


class InvalidFieldsError(Exception):
    """Fields of a request that cannot be used; answered as 422.

    Args:
        faults: at least one.
    """

    def __init__(self, faults: Sequence[FieldFault]) -> None:
        super().__init__("; ".join(map(_text, faults)))
        self.faults = faults


def problem_body(status: int, detail: str, request_id: str | None = None, **members: object) -> bytes:
    """A problem document.

    Args:
        status: of the answer, 400 to 599.
        detail: for people.
        request_id: of the request, as far as it has one.
        members: of the document besides those that RFC 9457 names.
    """
    instance = {"instance": f"urn:request:{request_id}"} if request_id else {}
    title = HTTPStatus(status).phrase
    return orjson.dumps(
        {"type": "about:blank", "title": title, "status": status, "detail": detail, **instance, **members}
    )


def without_paths(text: str, settings: Settings) -> str:
    """A message about the store or the machine for people outside: without places of the file system or of a bucket.

    What lies in the store is named from its root on; the log has the whole.

    Args:
        text: the message.
        settings: name the store.
    """
    root = settings.storage_uri.rstrip("/")
    events = settings.events_url.get_secret_value()
    local = unquote(urlsplit(root).path) if root.startswith("file://") else root
    for place in dict.fromkeys((root, f"file://{local}", local)):
        text = text.replace(f"{place}/", "").replace(place, "the store")
    text = text.replace(str(settings.api_cache_dir), "the cache")
    if events.startswith("sqlite://"):
        text = text.replace(str(Path(events.removeprefix("sqlite:///")).absolute()), "the event store")
    return _PATH.sub("a place on the server", text)


def problem_response(
    request: Request, status: int, detail: str, headers: Mapping[str, str] | None = None, **members: object
) -> Response:
    """An answer that is a problem document; arguments as for :func:`problem_body`."""
    request_id = getattr(request.state, "request_id", None)
    body = problem_body(status, detail, request_id, **members)
    return Response(body, status, dict(headers or {}), media_type=MEDIA_TYPE)


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The ``responses`` of a route for these errors."""
    return {
        status: {"model": InvalidRequest if status == 422 else Problem, "description": HTTPStatus(status).phrase}
        for status in statuses
    }


def add_problems(app: FastAPI) -> None:
    """Answer all errors of an application as problem documents, and state so in its OpenAPI document."""

    def http(request: Request, error: Exception) -> Response:
        refused = cast(HTTPException, error)
        return problem_response(request, refused.status_code, str(refused.detail), refused.headers)

    def invalid(request: Request, error: Exception) -> Response:
        faults = error.faults if isinstance(error, InvalidFieldsError) else _faults(cast(RequestValidationError, error))
        errors = [fault.model_dump(exclude_none=True) for fault in faults]
        return problem_response(request, 422, "; ".join(map(_text, faults)), errors=errors)

    def unexpected(request: Request, _: Exception) -> Response:
        # This answer passes by the middlewares, which would have named the request.
        request_id = getattr(request.state, "request_id", None)
        headers = {REQUEST_ID: request_id} if request_id else {}
        return problem_response(request, 500, "the request could not be answered; the server's log says why", headers)

    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(InvalidFieldsError, invalid)
    app.add_exception_handler(Exception, unexpected)
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _with_problems(generate())
        return app.openapi_schema

    app.openapi = openapi


def _faults(error: RequestValidationError) -> list[FieldFault]:
    """The faults that FastAPI found. Values are left out: a body may hold what belongs into no log."""
    faults: list[FieldFault] = []
    for fault in cast("Sequence[Mapping[str, Any]]", error.errors()):
        path = list(fault["loc"])
        source = path.pop(0) if path and path[0] in _SOURCES else "body"
        index = path.pop(0) if source == "body" and path and isinstance(path[0], int) else None
        field = ".".join(str(part) for part in path) or str(source)
        faults.append(FieldFault(field=field, message=message_of(fault), index=index))
    return faults


def _text(fault: FieldFault) -> str:
    at = "" if fault.index is None else f"[{fault.index}]."
    return f"{at}{fault.field}: {fault.message}"


def _with_problems(document: dict[str, Any]) -> dict[str, Any]:
    """An OpenAPI document in which the errors of every operation are problem documents."""
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    for model in (Problem, InvalidRequest):
        schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas.update(schema.pop("$defs", {}))
        schemas[model.__name__] = schema
    for name in _REPLACED:
        schemas.pop(name, None)
    refs = {f"#/components/schemas/{name}" for name in ("Problem", "InvalidRequest", *_REPLACED)}
    for operation in (item[method] for item in document["paths"].values() for method in _METHODS if method in item):
        for status, response in operation["responses"].items():
            schema = response.get("content", {}).get("application/json", {}).get("schema", {})
            if schema.get("$ref") in refs:
                response["content"] = _content("InvalidRequest" if status == "422" else "Problem")
        described = "Any other error is a problem document too"
        operation["responses"].setdefault("default", {"description": described, "content": _content("Problem")})
    return document


def _content(model: str) -> dict[str, Any]:
    return {MEDIA_TYPE: {"schema": {"$ref": f"#/components/schemas/{model}"}}}
