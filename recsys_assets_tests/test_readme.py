"""The documents promise nothing that is not there: settings, commands, names, links, the example of a data set."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"


def blocks(language: str) -> list[str]:
    """The code blocks of the README in one language."""
    return re.findall(rf"```{language}\n(.*?)```", README.read_text(), re.DOTALL)


def dataset_example() -> str:
    """The ``dataset.toml`` that the README shows."""
    (example,) = blocks("toml")
    return example
