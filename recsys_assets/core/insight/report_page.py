"""What the reports have in common as HTML pages that need nothing else: key figures, charts, tables, JSON."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from recsys_assets.core.insight.drawing import Chart, data_uri

if TYPE_CHECKING:
    from jinja2 import Template


@dataclass(frozen=True)
class Card:
    """A key figure.

    Args:
        name: what it is.
        value: as text.
        note: a line below the value.
        warn: whether the value asks for attention.
    """

    name: str
    value: str
    note: str
    warn: bool = False


@dataclass(frozen=True)
class Table:
    """A table below a heading; integers get thousands separators."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str | int]]


@dataclass(frozen=True)
class Image:
    """A chart within a page.

    Args:
        name: identifies its figure in the page.
        alt: what it shows, as text.
        src: data URI.
    """

    name: str
    alt: str
    src: str


def images(charts: Iterable[Chart]) -> list[Image]:
    """Charts as they stand in a page."""
    return [Image(chart.name, chart.title, data_uri(chart.svg)) for chart in charts]


def png_image(name: str, alt: str, png: bytes) -> Image:
    """A PNG as it stands in a page."""
    return Image(name, alt, png_uri(png))


def png_uri(png: bytes) -> str:
    """A PNG as an address that holds all of it."""
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def report_page(
    title: str,
    lead: str,
    cards: Sequence[Card] = (),
    images: Sequence[Image] = (),
    tables: Sequence[Table] = (),
    figures: dict[str, Any] | None = None,
) -> bytes:
    """The page; equal arguments give equal bytes.

    Args:
        title: plain text, as everything else: the template escapes it.
        lead: one sentence.
        cards: key figures.
        images: see :func:`images`.
        tables: below the images.
        figures: everything shown, for programs: JSON in the script ``figures``.
    """
    page = _template().render(title=title, lead=lead, cards=cards, images=images, tables=tables, figures=figures)
    return page.encode()


@cache
def _template() -> Template:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("recsys_assets.core.insight"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["cell"] = _cell
    environment.policies["json.dumps_kwargs"] = {"sort_keys": True, "ensure_ascii": False}
    return environment.get_template("report.html.j2")


def _cell(value: str | int) -> str:
    return f"{value:,}" if isinstance(value, int) else value
