"""Pictures for the metadata of materializations: what people would rather look at than read."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from urllib.parse import quote

import dagster as dg

from recsys_assets.core.insight.charts import Picture

_INK, _BAR = "#1f2937", "#4f43dd"


def bars(title: str, values: Mapping[str, float], most: int = 20) -> dg.MarkdownMetadataValue:
    """A horizontal bar chart, largest first, as an inline PNG."""
    if not values:
        return dg.MetadataValue.md("nothing to draw yet")
    encoded = base64.b64encode(bar_chart(title, values, most)).decode()
    return dg.MetadataValue.md(f"![{title}](data:image/png;base64,{encoded})")


def bar_chart(title: str, values: Mapping[str, float], most: int = 20) -> bytes:
    """The same as a PNG file; at least one value."""
    # Importing matplotlib takes most of a second; only steps that draw pay for it.
    from matplotlib.figure import Figure

    shown = sorted(values.items(), key=lambda item: item[1])[-most:]
    figure = Figure(figsize=(6, 0.6 + 0.28 * len(shown)), dpi=110, layout="constrained")
    axes = figure.subplots()
    drawn = axes.barh([name for name, _ in shown], [value for _, value in shown], color=_BAR)
    axes.bar_label(drawn, fmt="%.3g", padding=3, color=_INK, fontsize=8)
    axes.set_title(title, color=_INK, fontsize=10, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8, colors=_INK)
    axes.margins(x=0.12)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def report(drawn: Sequence[Picture]) -> dict[str, dg.MarkdownMetadataValue]:
    """Hand-made charts: all of them in full in the first entry, and the gist of each in one of its own.

    The UI shows markdown of up to 1,000 characters in place, and more behind a link.
    """
    return {
        "report": dg.MetadataValue.md("\n\n".join(_image(one.name, one.canvas.alone(one.height)) for one in drawn)),
        **{one.name: small_picture(one.name, one.glance) for one in drawn},
    }


def small_picture(name: str, svg: str) -> dg.MarkdownMetadataValue:
    """One picture, of at most a few hundred characters, that the UI shows in place."""
    return dg.MetadataValue.md(_image(name, svg))


def _image(name: str, svg: str) -> str:
    # Not base64, which is a third longer; within <> a markdown address may hold blanks and brackets.
    return f"![{name}](<data:image/svg+xml,{quote(svg, safe=_PLAIN)}>)"


_PLAIN = " !$&'()*+,/:;=?@[]{}|\""
