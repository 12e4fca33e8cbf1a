"""Whom an erasure waits for: runs that may have read rows of the person, and nobody who waits for the erasure."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from recsys_assets.definitions import build_definitions
from recsys_assets.erasure.job import wait_for_other_runs
from recsys_assets.resources.naming import Names
from recsys_assets.settings import load_settings
from recsys_assets_tests.integration.world import dagster_in

pytestmark = pytest.mark.faults


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with dagster_in(tmp_path / "dagster", concurrency={"pools": {"default_limit": 1, "granularity": "op"}}) as instance:
        yield instance


def started(instance: dg.DagsterInstance, job: str, **config: Any) -> dg.DagsterRun:
    definition = build_definitions(*load_settings(dataset="retailrocket")).resolve_job_def(job)
    return instance.create_run_for_job(definition, run_config=config, status=dg.DagsterRunStatus.STARTED)


def test_who_waits_for_the_pool_of_an_erasure_is_not_waited_for(instance: dg.DagsterInstance) -> None:
    """A job that takes files in, lets them go or prunes, started while a person is erased: both would wait for ever."""
    events = instance.event_log_storage
    erasure = started(instance, "erase_user", ops={"erase": {"config": {"user_id": "7"}}})
    other = started(instance, "prune")
    context: Any = dg.build_op_context(instance=instance)
    assert not events.claim_concurrency_slot("publishing", erasure.run_id, "x").is_claimed, "no slot, and no holder"
    events.initialize_concurrency_limit_to_default("landing")
    assert events.claim_concurrency_slot("landing", erasure.run_id, "erase").is_claimed
    with pytest.raises(dg.Failure, match=f"runs are in progress .*{other.run_id}"):
        wait_for_other_runs(context, 0.0, Names())
    assert not events.claim_concurrency_slot("landing", other.run_id, "accept").is_claimed
    assert not wait_for_other_runs(context, 0.0, Names())
    # It is waited for again as soon as it has its turn.
    events.free_concurrency_slots_for_run(erasure.run_id)
    assert events.claim_concurrency_slot("landing", other.run_id, "accept").is_claimed
    with pytest.raises(dg.Failure, match=f"runs are in progress .*{other.run_id}"):
        wait_for_other_runs(context, 0.0, Names())
