"""MkDocs hook: draws Mermaid diagrams when the site is built, so that no page fetches a script to do it."""

from __future__ import annotations

import html
import re
from typing import Any

from merman import Merman

_DIAGRAM = re.compile(r'<pre class="mermaid"><code>(.*?)</code></pre>', re.DOTALL)
_STYLE = '%%{init: {"theme": "neutral", "fontFamily": "Helvetica, Arial, sans-serif"}}%%\n'


def on_page_content(content: str, **_: Any) -> str:
    """The page with a picture in place of each diagram; a diagram that cannot be read fails the build."""
    draw = Merman()
    return _DIAGRAM.sub(lambda found: f"<div>{draw.render_svg(_STYLE + html.unescape(found[1]), None)}</div>", content)
