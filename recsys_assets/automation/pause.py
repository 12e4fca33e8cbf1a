"""Automation pauses while a person is erased: its runs could read rows that are to go, and erasing waits for them."""

import dagster as dg

from recsys_assets.automation.dead_runs import UNFINISHED
from recsys_assets.resources.naming import Names

ERASURE = "erase_user"
"""The job that erases."""


def paused(instance: dg.DagsterInstance, names: Names) -> str | None:
    """Why nothing is to be started now; None where nothing stands against it."""
    runs = instance.get_runs(dg.RunsFilter(job_name=names(ERASURE), statuses=list(UNFINISHED)), limit=1)
    return f"paused: run {runs[0].run_id} erases a person" if runs else None
