"""Reads docker/compose.yaml the way Compose does, as far as the tests need it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
DOCKER = ROOT / "docker"
_VARIABLE = re.compile(r"\$\{(?P<name>\w+)(?:(?P<how>:[-?])(?P<rest>[^}]*))?\}")


def env_file(path: Path) -> dict[str, str]:
    """The variables of an env file."""
    lines = [line.strip() for line in path.read_text().splitlines()]
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def interpolate(text: str, variables: Mapping[str, str]) -> str:
    """Replace ``${NAME}``, ``${NAME:-default}`` and ``${NAME:?message}``.

    Raises:
        KeyError: a variable has neither a value nor a default; carries the message.
    """

    def value(match: re.Match[str]) -> str:
        name, how, rest = match.group("name", "how", "rest")
        if variables.get(name):
            return variables[name]
        if how == ":-":
            return rest
        raise KeyError(rest or name)

    return _VARIABLE.sub(value, text)


def raw() -> dict[str, Any]:
    """The compose file as written, anchors and merges resolved."""
    return yaml.safe_load((DOCKER / "compose.yaml").read_text())


def resolved(variables: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The compose file with its variables filled in; by default those of ``.env.example``."""
    chosen = env_file(DOCKER / ".env.example") if variables is None else variables

    def walk(node: Any) -> Any:
        if isinstance(node, dict):
            return {key: walk(value) for key, value in node.items()}
        if isinstance(node, list):
            return [walk(value) for value in node]
        return interpolate(node, chosen) if isinstance(node, str) else node

    return walk(raw())
