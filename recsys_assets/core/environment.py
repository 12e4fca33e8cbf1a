"""The environment variables of the platform, and the file ``.env`` that may keep them."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated

from dotenv import load_dotenv
from pydantic import AfterValidator, ValidationError

from recsys_assets.core.faults import did_you_mean, message_of

PREFIX = "RECSYS_"
_OF_COMPOSE = {"bucket", "tag"}
"""Variables of ``docker/compose.yaml``, and of what it starts."""
_OF_THE_API = ("api_", "events_")
_CLOSE = 0.85


def read_env_file() -> None:
    """Take variables from ``.env`` in the current folder, as far as the environment does not state them."""
    load_dotenv(Path.cwd() / ".env")


def reject_renamed(names: Iterable[str], renamed: Mapping[str, str], prefix: str = "", where: str = "") -> None:
    """Fail where a setting has the name that it had once.

    Args:
        names: of settings that are stated, with their prefix.
        renamed: old name to new one.
        prefix: that of the variables.
        where: what states them, for the message.

    Raises:
        ValueError: names the new one.
    """
    for name in sorted(names):
        new = renamed.get(name[len(prefix) :].lower())
        if new is not None:
            raise ValueError(f"{where}{name} was renamed: set {f'{prefix}{new.upper()}' if prefix else new} instead")


def unknown_variables(known: Collection[str], *, of_the_api: bool) -> list[str]:
    """What is wrong with the names of variables that no part of the platform knows, a line each.

    The graph and the API share one environment. Names of the API's own are judged by the API; of others, it judges
    those that are all but one of its settings.

    Args:
        known: names of this process' settings, in lower case and without the prefix.
        of_the_api: whether this process is the API.
    """
    faults: list[str] = []
    for variable in sorted(os.environ):
        name = variable.lower().removeprefix(PREFIX.lower())
        if not variable.upper().startswith(PREFIX) or name in known or name in _OF_COMPOSE:
            continue
        is_mine = name.startswith(_OF_THE_API) is of_the_api
        if is_mine or (of_the_api and get_close_matches(name, known, n=1, cutoff=_CLOSE)):
            faults.append(f"{variable}: is not a setting{did_you_mean(name, known, _variable)}")
    return faults


def explain_variables(error: ValidationError, prefix: str = "") -> list[str]:
    """Each fault of settings as ``variable: what is wrong (found …)``."""
    faults: list[str] = []
    for fault in error.errors(include_url=False):
        name = "_".join(str(part) for part in fault["loc"])
        faults.append(f"{prefix}{name.upper() if prefix else name}: {message_of(fault)} (found {fault['input']!r})")
    return faults


def folders_of(text: str) -> list[str]:
    """The folders of a setting that names several, comma separated.

    Raises:
        ValueError: one of them is no absolute path.
    """
    folders = [str(Path(part.strip()).expanduser()) for part in text.split(",") if part.strip()]
    if not all(map(os.path.isabs, folders)):
        raise ValueError("expected absolute paths of folders, comma separated")
    return folders


Folders = Annotated[str, AfterValidator(lambda text: ",".join(folders_of(text)))]
"""A setting that names folders, as of :func:`folders_of`."""


def absolute_uri(uri: str) -> str:
    """A plain path becomes an absolute ``file://`` address; others stay."""
    return uri if "://" in uri else Path(uri).expanduser().resolve().as_uri()


def _variable(name: str) -> str:
    return f"{PREFIX}{name.upper()}"
