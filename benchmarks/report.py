"""Writes what a benchmark found into docs/benchmarks.md: one section each, replaced when it runs again."""

from __future__ import annotations

import platform
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from os import getloadavg, sched_getaffinity
from pathlib import Path

PAGE = Path(__file__).resolve().parent.parent / "docs" / "benchmarks.md"
_HEAD = """# Benchmarks

Each section is written by the command it names. Figures are ratios or metrics of one run on one machine; run the
command to get yours.
"""


@dataclass(frozen=True)
class Line:
    """The figures of one system on one split; as text ``gowalla fused recall@20=0.1953 ndcg@20=0.1620``."""

    split: str
    system: str
    metrics: Mapping[str, float]

    def __str__(self) -> str:
        figures = " ".join(f"{metric}={value:.4f}" for metric, value in self.metrics.items())
        return f"{self.split} {self.system} {figures}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A markdown table; the first column is text, the others are figures."""
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def machine(packages: Sequence[str]) -> str:
    """The machine and the versions that the figures depend on."""
    memory = Path("/proc/meminfo").read_text().split()[1]
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    return (
        f"{len(sched_getaffinity(0))} cores ({platform.machine()}), {int(memory) / 2**20:.0f} GiB, "
        f"Python {platform.python_version()}, {versions}; {datetime.now(UTC):%Y-%m-%d}"
    )


def busy() -> str:
    """How much else the machine does, to be said before anything is measured."""
    return f"Load average before: {getloadavg()[0]:.0f}."


def write_section(name: str, title: str, command: str, packages: Sequence[str], text: str) -> None:
    """Print a section and put it into the page, in the place of the one of the same name."""
    section = f"## {title}\n\n`{command}`  \n{machine(packages)}\n\n{text.strip()}\n"
    sys.stdout.write(section)
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    block = f"{begin}\n{section}{end}\n"
    page = PAGE.read_text() if PAGE.exists() else _HEAD
    found = re.search(f"{re.escape(begin)}.*?{re.escape(end)}\n", page, re.DOTALL)
    PAGE.write_text(page.replace(found.group(), block) if found else f"{page.rstrip()}\n\n{block}")
