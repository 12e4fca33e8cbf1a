"""Writes the table of ``docs/settings.md``, and ``docker/settings.env.example``.

``python -m recsys_assets.cli.settings_table``
"""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Mapping
from pathlib import Path

from pydantic.fields import FieldInfo

from recsys_api.settings import Settings as ApiSettings
from recsys_assets.settings import Settings

_ROOT = Path(__file__).resolve().parents[2]
PAGE = _ROOT / "docs" / "settings.md"
ENV_EXAMPLE, _COMPOSE = _ROOT / "docker" / "settings.env.example", _ROOT / "docker" / "compose.yaml"
BEGIN, END = "<!-- settings:begin -->\n", "<!-- settings:end -->"

_COMPUTED = {
    "landing_uri": "`data/landing/<data set>`",
    "storage_uri": "`data/store/<data set>`",
    "mlflow_tracking_uri": "`sqlite:///data/mlflow/<data set>.db`",
    "mlflow_artifacts_uri": "the folder `mlflow` of the store",
    "mlflow_experiment": "the data set's name",
    "placements": "beside `dataset.toml`, if there",
    "start_date": "the data set's",
    "end_date": "the data set's",
    "api_cache_dir": "a temporary folder",
    "events_url": "`<store>-events/events.sqlite` beside a local store",
}
"""Defaults that depend on other things."""


def table() -> str:
    """The settings of the graph and of the API in markdown: a heading and a table for each section."""
    return "\n".join(_section_table(title, fields) for title, fields in _sections().items())


def env_example() -> str:
    """Every setting with its default, commented out, but those that the compose file states."""
    stated = set(re.findall(r"^ +(RECSYS_[A-Z_]+):", _COMPOSE.read_text("utf-8"), re.MULTILINE))
    lines = [
        "# Copy to docker/settings.env and take the # from what you change. compose.yaml states the other settings."
    ]
    for title, fields in _sections().items():
        lines += ["", f"#### {title}"]
        for name, field in fields.items():
            variable = f"RECSYS_{name.upper()}"
            if variable not in stated:
                default = "" if name in _COMPUTED else _default(name, field).strip("`")
                lines += [
                    "",
                    *textwrap.wrap(str(field.description), 118, initial_indent="## ", subsequent_indent="## "),
                ]
                lines.append(f"# {variable}={default}")
    return "\n".join(lines) + "\n"


def with_table(text: str) -> str:
    """A document with the table between its two markers; ``ValueError`` if a marker is missing."""
    return between(text, BEGIN, END, table())


def between(text: str, begin: str, end: str, content: str) -> str:
    """A document with other content between two markers.

    Raises:
        ValueError: a marker is missing, or is there twice.
    """
    before, rest = text.split(begin)
    _, after = rest.split(end)
    return f"{before}{begin}{content}{end}{after}"


def _section_table(title: str, fields: Mapping[str, FieldInfo]) -> str:
    rows = (
        f"| `RECSYS_{name.upper()}` | {_default(name, field)} | {field.description} |" for name, field in fields.items()
    )
    return "\n".join([f"## {title}", "", "| variable | default | meaning |", "|---|---|---|", *rows]) + "\n"


def _sections() -> dict[str, dict[str, FieldInfo]]:
    """All settings by section and name. The API's own come last; those that it shares are the graph's."""
    own = {name: field for name, field in ApiSettings.model_fields.items() if name not in Settings.model_fields}
    return {
        inspect.cleandoc(base.__doc__ or "").rstrip("."): dict(base.model_fields)
        for base in reversed(Settings.__bases__)
    } | {"API": own}


def _default(name: str, field: FieldInfo) -> str:
    if name in _COMPUTED:
        return _COMPUTED[name]
    value = field.default
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text("utf-8")), "utf-8")
    ENV_EXAMPLE.write_text(env_example(), "utf-8")
