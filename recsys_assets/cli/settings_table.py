"""Writes the table of ``docs/settings.md``: ``python -m recsys_assets.cli.settings_table``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pydantic.fields import FieldInfo

from recsys_api.settings import Settings as ApiSettings
from recsys_assets.settings import Settings

PAGE = Path(__file__).resolve().parents[2] / "docs" / "settings.md"
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
    """The settings of the graph and of the API as a markdown table."""
    return "\n".join(["| variable | default | meaning |", "|---|---|---|", *_rows()]) + "\n"


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


def _rows() -> Iterator[str]:
    both: dict[str, FieldInfo] = {**ApiSettings.model_fields, **Settings.model_fields}
    # The API's own come last; those that it shares are the graph's.
    for name in dict.fromkeys([*Settings.model_fields, *both]):
        yield f"| `RECSYS_{name.upper()}` | {_default(name, both[name])} | {both[name].description} |"


def _default(name: str, field: FieldInfo) -> str:
    if name in _COMPUTED:
        return _COMPUTED[name]
    value = field.default
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text("utf-8")), "utf-8")
