"""Licences of what the images install: ``python -m recsys_assets_tests.licences`` prints a table."""

from __future__ import annotations

import re
import sys
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "docker" / "requirements.lock"
_PINNED = re.compile(r"^([A-Za-z0-9._-]+)==(\S+)", re.MULTILINE)


def locked() -> dict[str, str]:
    """Version of each package that the images install."""
    return dict(_PINNED.findall(LOCK.read_text()))


def licence_of(package: str) -> str:
    """The licence in a package's metadata: SPDX expression, else classifiers, else the field's first line.

    Raises:
        PackageNotFoundError: it is not installed here, such as one for another platform.
    """
    about = metadata(package)
    if "License-Expression" in about:
        return about["License-Expression"]
    classifiers = about.get_all("Classifier") or []
    classified = [one.rpartition(" :: ")[2] for one in classifiers if one.startswith("License ::")]
    stated = about["License"].strip().partition("\n")[0] if "License" in about else ""
    return "; ".join(classified) or stated or "not stated"


def table() -> str:
    """Package, version and licence as a markdown table."""
    rows = ["| package | version | licence |", "|---|---|---|"]
    for name, version in locked().items():
        try:
            rows.append(f"| {name} | {version} | {licence_of(name)} |")
        except PackageNotFoundError:
            rows.append(f"| {name} | {version} | not installed on this platform |")
    return "\n".join([*rows, ""])


if __name__ == "__main__":
    sys.stdout.write(table())
