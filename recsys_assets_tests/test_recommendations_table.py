"""The lists of the served release in a real PostgreSQL: equal to the release, and whole at any moment."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg2
import pytest

from recsys_assets.definitions import build_definitions
from recsys_assets.settings import load_settings
from recsys_assets.storage import recommendations_table
from recsys_assets.storage.lists import RankedLists
from recsys_assets.storage.recommendations_table import Followed, RecommendationsTable
from recsys_assets.storage.releases import Releases
from recsys_assets.storage.table_loads import TABLES, TableError
from recsys_assets_tests.api.publishing import Content, publish, releases_at
from recsys_assets_tests.automation.driver import Driver
from recsys_assets_tests.integration.world import World, dagster_in, make_world
from recsys_assets_tests.postgres_server import USER, create_database, postgres_server

pytestmark = pytest.mark.stack
PASSWORD = "pl4nted-s3cret"
_NUMBERS = count()
ODD = ["", " ", "a\tb", "line\nbreak\r\n", "back\\slash", "\\.", "\\N", 'quo"te', "it's", "a,b", "ü→🦉", "NULL", "%s"]


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with postgres_server(PASSWORD) as started:
        yield started


@pytest.fixture
def url(port: int) -> str:
    return create_database(port, PASSWORD, f"of_{next(_NUMBERS)}")


@pytest.fixture
def table(url: str) -> RecommendationsTable:
    return RecommendationsTable(url, "recsys")


@pytest.fixture
def store(tmp_path: Path) -> str:
    return (tmp_path / "store").as_uri()


def numbered(first: int, users: int = 3) -> Content:
    """A release whose every row says which one it is of."""
    items = [first + n for n in range(3)]
    return Content(
        recommendations=dict.fromkeys(range(users), items),
        similar_items={item: [other for other in items if other != item] for item in items},
        top_popular={"all": items, "trending": items[:1]},
    )


def query(url: str, text: str, *given: Any) -> list[tuple[Any, ...]]:
    with contextlib.closing(psycopg2.connect(url)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(text, given)
        return cursor.fetchall() if cursor.description else []


def follow(table: RecommendationsTable, store: str) -> Followed:
    followed = table.follow(releases_at(store))
    assert followed is not None
    return followed


def expect_equal(url: str, releases: Releases, folder: Path) -> None:
    """Every row of the served release is in the views, and no other."""
    served = releases.current()
    assert served is not None
    files = releases.fetch(served.release_id, folder)
    for declared in TABLES:
        lists = RankedLists.open(next(iter(files.values())).parent, declared.name)
        expected = {
            (key, rank, row.item_id, row.score, row.source)
            for key in lists.keys.to_pylist()
            for rank, row in enumerate(lists.get(key, 1000), 1)
        }
        columns = f"{declared.key}, rank, {declared.item}, score::float8, source"
        found = query(url, f"select {columns} from recsys.{declared.name}")
        assert len(found) == len(expected) == lists.rows
        assert set(found) == expected, declared.name


def test_views_equal_the_release_row_by_row(table: RecommendationsTable, url: str, store: str, tmp_path: Path) -> None:
    publish(store, "2025-01-01", numbered(100))
    first = follow(table, store)
    assert first.changed
    assert first.rows == {"recommendations": 9, "similar_items": 6, "top_popular": 4}
    assert first.bytes > 0
    expect_equal(url, releases_at(store), tmp_path)
    assert query(url, "select release_id, as_of::text, load from recsys.loaded_release") == [
        (first.loaded.release_id, "2025-01-01", 1)
    ]
    again = follow(table, store)
    assert (again.changed, again.loaded) == (False, first.loaded), "what is there is not loaded again"

    publish(store, "2025-01-02", numbered(200, users=1))
    second = follow(table, store)
    assert second.changed
    assert not second.old_left
    expect_equal(url, releases_at(store), tmp_path)
    # The tables behind the views hold nothing else either.
    left = query(
        url,
        "select sum(c) from (select count(*) c from recsys.recommendations_loads union all "
        "select count(*) from recsys.similar_items_loads) counted",
    )
    assert left == [(9,)], "rows of the release before are gone, from the disk too"


def test_ids_of_any_text_and_scores_come_back_as_they_are(
    table: RecommendationsTable, url: str, store: str, tmp_path: Path
) -> None:
    odd = Content(
        recommendations=dict.fromkeys(ODD, ODD),
        similar_items=dict.fromkeys(ODD, ODD[:3]),
        top_popular={"all": ODD, "category:\t\\.": ODD[:2]},
        ids={"user": "string", "item": "string"},
    )
    publish(store, "2025-01-01", odd)
    follow(table, store)
    expect_equal(url, releases_at(store), tmp_path)
    plan = "\n".join(
        row[0]
        for row in query(
            url, "explain select item_id from recsys.recommendations where user_id = %s order by rank", "a\tb"
        )
    )
    assert "user_id = 'a\tb'" in plan.replace("E'a\\tb'", "'a\tb'")
    publish(store, "2025-01-02", Content({"a\0b": ["x"]}, top_popular={"all": ["x"]}, ids=odd.ids))
    with pytest.raises(TableError, match=r"recommendations: user_id 'a\\x00b' has the character NUL"):
        follow(table, store)
    shown = table.loaded()
    assert shown is not None
    assert shown.as_of.isoformat() == "2025-01-01"


def test_a_list_is_read_by_its_index(table: RecommendationsTable, url: str, store: str) -> None:
    publish(store, "2025-01-01", numbered(100, users=20_000))
    follow(table, store)
    publish(store, "2025-01-02", numbered(200, users=20_000))
    follow(table, store)
    ask = "select item_id from recsys.recommendations where user_id = 17 order by rank limit 2"
    plan = "\n".join(row[0] for row in query(url, f"explain {ask}"))
    assert "Index" in plan
    assert "Seq Scan on recommendations" not in plan
    assert query(url, ask) == [(200,), (201,)]


def test_readers_see_one_release_or_the_other_and_never_wait_long(
    table: RecommendationsTable, url: str, store: str
) -> None:
    old = publish(store, "2025-01-01", numbered(100, users=2000))
    new = publish(store, "2025-01-02", numbered(200, users=2000))
    follow(table, store)
    of = {old: 100, new: 200}
    ask = (
        "select (select release_id from recsys.loaded_release), min(r.item_id), max(r.item_id), count(*),"
        " min(p.item_id) from recsys.recommendations r, recsys.top_popular p where p.segment = 'all' and p.rank = 1"
    )
    both = (
        "select min(s.item_id), min(r.item_id) from recsys.similar_items s, recsys.recommendations r"
        " where r.user_id = 1"
    )
    stop, seen, faults = threading.Event(), set[str](), list[str]()

    def read(*, repeatable: bool) -> None:
        with contextlib.closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
            connection.set_session(isolation_level="REPEATABLE READ" if repeatable else "READ COMMITTED")
            while not stop.is_set():
                cursor.execute(ask)
                release, low, high, rows, popular = cursor.fetchall()[0]
                cursor.execute(both)
                pair = cursor.fetchall()[0]
                connection.commit()
                first = of[release]
                whole = (low, high, rows, popular) == (first, first + 2, 6000, first)
                if not whole or len(set(pair)) != 1 or (repeatable and pair[0] != first):
                    faults.append(f"{release}: {low} {high} {rows} {popular} {pair}")
                seen.add(release)

    def guarded(*, repeatable: bool) -> None:
        try:
            read(repeatable=repeatable)
        except psycopg2.Error as error:
            faults.append(repr(error))

    readers = [threading.Thread(target=guarded, kwargs={"repeatable": kind}) for kind in (False, True)]
    for reader in readers:
        reader.start()
    try:
        for release in [old, new] * 6:
            releases_at(store).rollback(release)
            assert follow(table, store).loaded.release_id == release
    finally:
        stop.set()
        for reader in readers:
            reader.join()
    assert not faults
    assert seen == {old, new}


def test_a_reader_that_stays_keeps_old_rows_but_not_the_switch(
    table: RecommendationsTable, url: str, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recommendations_table, "_PATIENCE", 0.3)
    publish(store, "2025-01-01", numbered(100))
    follow(table, store)
    with contextlib.closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        connection.set_session(isolation_level="REPEATABLE READ")
        cursor.execute("select min(item_id) from recsys.recommendations")
        publish(store, "2025-01-02", numbered(200))
        assert follow(table, store).old_left
        assert query(url, "select min(item_id) from recsys.recommendations") == [(200,)]
        assert table.rows_of(1) == 6, "an erasure sees what is left of old loads"
        cursor.execute("select min(item_id) from recsys.recommendations")
        assert cursor.fetchone() == (100,), "a transaction reads what it has begun with"
    assert not follow(table, store).old_left
    assert table.rows_of(1) == 3


KILLED = """
import os, signal, sys
from recsys_assets.storage.recommendations_table import RecommendationsTable
from recsys_assets.storage.table_loads import Loads
from recsys_assets.storage.uri import open_store
from recsys_assets.storage.releases import Releases
step, url, store = sys.argv[1:]
whole = getattr(Loads, step)
def dies(self, *given):
    if step == "switch" or given[0].name == "similar_items":
        os.kill(os.getpid(), signal.SIGKILL)
    return whole(self, *given)
setattr(Loads, step, dies)
RecommendationsTable(url, "recsys").follow(Releases(open_store(store)))
"""


@pytest.mark.parametrize("step", ["fill", "switch"])
def test_a_load_that_is_killed_leaves_the_old_tables(
    table: RecommendationsTable, url: str, store: str, tmp_path: Path, step: str
) -> None:
    publish(store, "2025-01-01", numbered(100))
    before = follow(table, store)
    publish(store, "2025-01-02", numbered(200))
    died = subprocess.run([sys.executable, "-c", KILLED, step, url, store], env={**os.environ}, check=False)
    assert died.returncode == -signal.SIGKILL
    assert table.loaded() == before.loaded
    assert query(url, "select min(item_id), count(*) from recsys.recommendations") == [(100, 9)]
    tables = "select 1 from pg_tables where schemaname = 'recsys'"
    assert len(query(url, tables)) == (7 if step == "fill" else 10), "before the switch, what nobody is shown"
    follow(table, store)
    assert len(query(url, tables)) == 7
    expect_equal(url, releases_at(store), tmp_path)


def test_another_data_set_and_other_id_types_are_refused(
    table: RecommendationsTable, store: str, tmp_path: Path
) -> None:
    publish(store, "2025-01-01", numbered(100))
    follow(table, store)
    other = (tmp_path / "other").as_uri()
    publish(other, "2025-01-05", numbered(1), dataset="films")
    with pytest.raises(
        TableError, match="holds data set 'test', and 'films' is to be loaded: state another RECSYS_REC"
    ):
        follow(table, other)
    text = (tmp_path / "text").as_uri()
    publish(
        text, "2025-01-05", Content({"a": ["b"]}, top_popular={"all": ["b"]}, ids={"user": "string", "item": "string"})
    )
    with pytest.raises(TableError, match=r"recommendations_loads.user_id is bigint, the release has text: drop"):
        follow(table, text)


def test_a_role_that_may_only_read_goes_on_reading_after_a_load(
    table: RecommendationsTable, url: str, port: int, store: str
) -> None:
    publish(store, "2025-01-01", numbered(100))
    follow(table, store)
    query(url, "create role shop login password 'shop'")
    query(url, "grant usage on schema recsys to shop")
    query(url, "grant select on recsys.recommendations, recsys.top_popular, recsys.loaded_release to shop")
    publish(store, "2025-01-02", numbered(200))
    follow(table, store)
    of_shop = url.replace(f"{USER}:{PASSWORD}", "shop:shop")
    assert query(of_shop, "select count(*) from recsys.recommendations") == [(9,)]
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        query(of_shop, "delete from recsys.recommendations_loads")


@pytest.fixture
def world(tmp_path: Path, url: str) -> Iterator[World]:
    with dagster_in(tmp_path / "dagster") as instance:
        yield make_world(tmp_path, instance, recommendations_url=url)


def test_the_tables_follow_the_pointer_wherever_it_goes(world: World, url: str, tmp_path: Path) -> None:
    driver, uri = Driver(world), world.settings.storage_uri
    assert driver.tick("table_sensor") == []
    assert driver.told == "nothing is served yet"
    old = publish(uri, "2025-01-01", numbered(100), dataset="retailrocket")
    new = publish(uri, "2025-01-02", numbered(200), dataset="retailrocket")
    assert [str(run) for run in driver.tick("table_sensor")] == ["load_table"]
    assert driver.tick("table_sensor") == []
    assert driver.told == f"{new} is loaded"

    releases_at(uri).rollback(old)
    assert [str(run) for run in driver.tick("table_sensor")] == ["load_table"]
    assert query(url, "select release_id from recsys.loaded_release") == [(old,)]
    expect_equal(url, releases_at(uri), tmp_path)
    [newest] = world.instance.fetch_materializations(dg.AssetKey("recommendations_table"), limit=1).records
    assert newest.asset_materialization is not None
    told = newest.asset_materialization.metadata
    assert told["release_id"].value == old
    assert told["recommendations_rows"].value == 9
    assert told["bytes"].value > 0  # type: ignore[operator]
    assert told["seconds"].value > 0  # type: ignore[operator]


def test_tables_that_are_behind_are_told_so(world: World) -> None:
    driver, uri = Driver(world), world.settings.storage_uri
    publish(uri, "2025-01-01", numbered(100), dataset="retailrocket")
    definition = driver.repository.get_sensor_def("table_sensor")
    with dg.build_sensor_context(
        instance=world.instance, repository_def=driver.repository, resources={"store": world.store}
    ) as context:
        tick = definition.evaluate_tick(context)
    [said] = tick.asset_events
    assert isinstance(said, dg.AssetCheckEvaluation)
    assert (said.check_name, said.passed, said.metadata["loaded"].value) == ("table_is_served", False, "nothing yet")


def test_an_erased_person_is_in_no_load(world: World, url: str) -> None:
    uri = world.settings.storage_uri
    publish(uri, "2025-01-01", numbered(100, users=5), dataset="retailrocket")
    table = RecommendationsTable(url, "recsys")
    follow(table, uri)
    clean = publish(uri, "2025-01-02", numbered(200, users=2), dataset="retailrocket")
    assert table.rows_of(4) == 3, "served is a release without the person; loaded is still the one before"
    job = world.definitions().resolve_job_def("erase_user")
    done = job.execute_in_process(
        instance=world.instance, run_config={"ops": {"erase": {"config": {"user_id": "4", "wait_minutes": 0}}}}
    )
    assert done.success
    assert table.rows_of(4) == 0
    assert query(url, "select release_id from recsys.loaded_release") == [(clean,)]


def test_the_password_is_nowhere(world: World, url: str, capfd: pytest.CaptureFixture[str]) -> None:
    publish(world.settings.storage_uri, "2025-01-01", numbered(100), dataset="retailrocket")
    refused = url.replace(f"//{USER}", "//nobody")
    wrong = make_world(world.folder, world.instance, recommendations_url=refused, automation=True)
    for made in (world, wrong):
        job = made.definitions().resolve_job_def("load_table")
        done = job.execute_in_process(instance=made.instance, raise_on_error=False)
        assert done.success == (made is world)
        log = [str(entry) for entry in made.instance.all_logs(done.run_id)]
        assert any("127.0.0.1" in entry for entry in log), "the log names the server"
        assert not any(PASSWORD in entry for entry in log)
        assert PASSWORD not in repr(made.settings)
    assert PASSWORD not in "".join(capfd.readouterr())


@pytest.mark.parametrize(
    "bad",
    [
        f"mysql://me:{PASSWORD}@host/db",
        f"postgresql://me:{PASSWORD}/1@host/db",
        f"postgresql://me:1@{PASSWORD}@host/db",
        PASSWORD,
    ],
)
def test_an_address_of_another_kind_is_an_error_that_does_not_quote_it(bad: str) -> None:
    with pytest.raises(ValueError, match=r"^RECSYS_RECOMMENDATIONS_URL: expected the address of a PostgreSQL") as told:
        build_definitions(*load_settings(recommendations_url=bad))
    assert PASSWORD not in str(told.value)


def test_without_an_address_there_is_no_table_in_the_graph() -> None:
    definitions = build_definitions(*load_settings())
    assert dg.AssetKey("recommendations_table") not in definitions.resolve_asset_graph().get_all_asset_keys()
    assert "load_table" not in {job.name for job in definitions.jobs or ()}
