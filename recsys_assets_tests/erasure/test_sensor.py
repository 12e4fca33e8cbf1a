"""Requests of the API become runs of erase_user: each once a day until the person is erased."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from recsys_assets.storage.erasure_requests import (
    ErasureRequest,
    close_request,
    list_requests,
    read_request,
    request_key,
    write_request,
)
from recsys_assets.storage.objects import ObjectStore
from recsys_assets_tests.automation.driver import Driver
from recsys_assets_tests.erasure.toy import MemoryStore
from recsys_assets_tests.integration.world import World, dagster_in, make_world

AT, LATER = "2026-01-01T00:00:00.000000Z", "2026-01-02T00:00:00.000000Z"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with dagster_in(tmp_path / "dagster") as instance:
        yield make_world(tmp_path, instance)


def requested(driver: Driver) -> dict[str, str]:
    """Run key to user of what a tick asks for."""
    return {
        str(request.run_key): request.run_config["ops"]["erase"]["config"]["user_id"]
        for request in driver.requests("erasure_sensor")
    }


def test_a_request_becomes_a_run_and_is_gone_when_it_is_done(world: World) -> None:
    driver, store = Driver(world), world.store.open()
    assert driver.requests("erasure_sensor") == []
    assert driver.told == "nobody is to be erased"
    key = write_request(store, ErasureRequest(-7, AT))
    store.put("erasures/requests/odd.json", b"{}")
    (request,) = driver.requests("erasure_sensor")
    (run_key,) = requested(driver)
    assert request.run_key == run_key, "the same one: it is not run twice"
    done = (
        world.definitions()
        .resolve_job_def("erase_user")
        .execute_in_process(instance=world.instance, run_config=request.run_config)
    )
    assert done.success
    assert list_requests(store) == ["erasures/requests/odd.json"]
    assert driver.requests("erasure_sensor") == []
    assert "odd.json" in driver.told
    write_request(store, ErasureRequest(-7, LATER))
    assert list(requested(driver).values()) == ["-7"]
    assert key not in requested(driver), "who comes back and asks again is erased again"


@pytest.mark.parametrize("user", [0, "0", "ü/→", -(2**63)])
def test_requests_are_kept_under_a_name_that_tells_no_id(user: int | str) -> None:
    store: ObjectStore = MemoryStore()
    key = write_request(store, ErasureRequest(user, AT))
    assert key == request_key(user)
    assert read_request(store, key) == ErasureRequest(user, AT)
    assert write_request(store, ErasureRequest(user, LATER)) == key
    assert not close_request(store, key, AT), "it was made again meanwhile"
    assert close_request(store, key, LATER)
    assert list_requests(store) == []
    assert read_request(store, key) is None
    assert request_key(0) != request_key("0")
