"""Refuse to start with what is not safe or would be ignored: a one-shot job of compose.yaml.

Reads the environment; prints what is at fault by name, never a value.
"""

import os
import re
import sys
from collections.abc import Mapping

PLACEHOLDER = "change-me"
SETTLED = {
    "RECSYS_API_ADMIN_KEYS": "in docker/.env",
    "RECSYS_API_CACHE_DIR": "by compose.yaml",
    "RECSYS_API_WRITE_KEYS": "in docker/.env",
    "RECSYS_DATASET": "by DATASET_FOLDER and DATASET_FILE in docker/.env",
    "RECSYS_EVENTS_URL": "by compose.yaml",
    "RECSYS_LANDING_URI": "by RECSYS_BUCKET in docker/.env",
    "RECSYS_MLFLOW_TRACKING_URI": "by compose.yaml",
    "RECSYS_RECOMMENDATIONS_URL": "by compose.yaml",
    "RECSYS_STORAGE_URI": "by RECSYS_BUCKET in docker/.env",
}
"""Settings that compose.yaml states, and where they are chosen: in settings.env they would be ignored."""
_KEYS = ("S3_ACCESS_KEY", "S3_SECRET_KEY", "S3_API_ACCESS_KEY", "S3_API_SECRET_KEY")


def faults(environment: Mapping[str, str]) -> list[str]:
    """What is wrong, a line each, by the name of the variable."""
    found = [
        f"{name}: is still {PLACEHOLDER!r}; put a value of your own into docker/.env"
        for name, value in sorted(environment.items())
        if value.strip() == PLACEHOLDER
    ]
    found += [
        f"{name}: is chosen {where}; take it out of docker/settings.env"
        for name, where in SETTLED.items()
        if name in environment
    ]
    found += [
        f"{name}: may hold letters, digits, and + / = _ - only"
        for name in _KEYS
        if not re.fullmatch(r"[\w+/=-]*", environment.get(name, ""), re.ASCII)
    ]
    if environment.get("S3_ACCESS_KEY") and environment["S3_ACCESS_KEY"] == environment.get("S3_API_ACCESS_KEY"):
        found.append("S3_API_ACCESS_KEY: is S3_ACCESS_KEY, which may write everything; the API has a key of its own")
    return found


if __name__ == "__main__":
    sys.exit("\n".join(faults(os.environ)) or None)
