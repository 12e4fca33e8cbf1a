"""Who may write and who may administer: keys in ``Authorization: Bearer`` or ``X-API-Key``.

Keys come from the environment. There may be several, so that one can be changed without a gap: add the new key, move
the clients, remove the old one.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from typing import Annotated, Any

from fastapi import HTTPException, Request, Security
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer
from starlette.datastructures import Headers

from recsys_api.problems import responses
from recsys_api.settings import Settings

_BEARER = HTTPBearer(auto_error=False, scheme_name="bearer", description="a key as bearer token")
_HEADER = APIKeyHeader(name="X-API-Key", auto_error=False, scheme_name="key", description="a key")

NEEDS_KEY: dict[int | str, dict[str, Any]] = responses(401, 403)
"""The ``responses`` of a route that needs a key."""

Bearer = Annotated[HTTPAuthorizationCredentials | None, Security(_BEARER)]
Header = Annotated[str | None, Security(_HEADER)]


class Keys:
    """The keys of one kind.

    Args:
        setting: the variable that holds them, which refusals name.
        keys: none refuses everybody.
        open_to_all: whether, without keys, everybody may.
    """

    def __init__(self, setting: str, keys: Iterable[str], *, open_to_all: bool = False) -> None:
        self._setting = setting
        # Digests are of one length, so that a comparison does not tell the length of a key.
        self._digests = [_digest(key) for key in keys]
        self._open = open_to_all and not self._digests

    def check(self, given: str | None) -> None:
        """Let a request pass.

        Args:
            given: the key of the request.

        Raises:
            HTTPException: 403 where no key is set, 401 where the key is missing or is none of them.
        """
        if self._open:
            return
        if not self._digests:
            raise HTTPException(403, f"this route needs a key, and none is set: set {self._setting}")
        challenge = {"WWW-Authenticate": "Bearer"}
        if given is None:
            raise HTTPException(401, "this route needs a key: Authorization: Bearer, or X-API-Key", headers=challenge)
        digest = _digest(given)
        # All are compared, so that the time does not tell which one it is.
        if not sum(hmac.compare_digest(digest, key) for key in self._digests):
            raise HTTPException(401, "the key is not valid", headers=challenge)


def write_keys(settings: Settings) -> Keys:
    """The keys of routes that write, or that show what a user did."""
    keys = settings.keys(settings.api_write_keys)
    return Keys("RECSYS_API_WRITE_KEYS", keys, open_to_all=settings.api_open_writes)


def admin_keys(settings: Settings) -> Keys:
    """The keys of routes that administer."""
    return Keys("RECSYS_API_ADMIN_KEYS", settings.keys(settings.api_admin_keys))


async def may_write(request: Request, _: Bearer, __: Header) -> None:
    """Dependency of routes that write, or that show what a user did."""
    request.app.state.write_keys.check(given_key(request.headers))


async def may_administer(request: Request, _: Bearer, __: Header) -> None:
    """Dependency of routes that administer."""
    request.app.state.admin_keys.check(given_key(request.headers))


def given_key(headers: Headers) -> str | None:
    """The key of a request, wherever it stands. The parameters of the dependencies describe it, and do no more."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else headers.get("x-api-key")


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
