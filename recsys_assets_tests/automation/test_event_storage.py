"""The local event log: what one storage wrote the other reads, while both are open, and files do not stay open."""

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import sqlalchemy
from dagster._core.events import (
    AssetMaterializationPlannedData,
    DagsterEvent,
    DagsterEventType,
    StepMaterializationData,
)
from sqlalchemy import event

from recsys_assets.automation.event_storage import KeptSqliteEventLogStorage
from recsys_assets_tests.integration.world import dagster_in

DAYS = dg.StaticPartitionsDefinition([f"{n:02}" for n in range(40)])


@dg.asset(partitions_def=DAYS, check_specs=[dg.AssetCheckSpec("fine", asset="thing", blocking=True)])
def thing(context: dg.AssetExecutionContext):
    number = int(context.partition_key)
    return dg.MaterializeResult(
        metadata={"number": number}, check_results=[dg.AssetCheckResult(check_name="fine", passed=number != 3)]
    )


def make(instance: dg.DagsterInstance, number: int) -> bool:
    return dg.materialize([thing], instance=instance, partition_key=f"{number:02}", raise_on_error=False).success


def numbers(instance: dg.DagsterInstance) -> list[Any]:
    found = instance.fetch_materializations(dg.AssetRecordsFilter(asset_key=thing.key), limit=100, ascending=True)
    return [
        record.asset_materialization and record.asset_materialization.metadata["number"].value
        for record in found.records
    ]


def test_dagsters_own_storage_and_ours_read_what_the_other_wrote(tmp_path: Path) -> None:
    with dagster_in(tmp_path) as ours, dg.instance_for_test(temp_dir=str(tmp_path)) as dagsters:
        assert isinstance(ours.event_log_storage, KeptSqliteEventLogStorage)
        assert not isinstance(dagsters.event_log_storage, KeptSqliteEventLogStorage)
        assert [make(ours, 1), make(dagsters, 2), make(ours, 3)] == [True, True, False]
        assert numbers(ours) == numbers(dagsters) == [1, 2, 3]
        checks = [
            one.event_log_storage.get_asset_check_partition_info(list(thing.check_keys)) for one in (ours, dagsters)
        ]
        assert checks[0] == checks[1]
        for run in ours.get_runs():
            assert [e.message for e in ours.all_logs(run.run_id)] == [e.message for e in dagsters.all_logs(run.run_id)]


def test_threads_of_one_process_lose_no_event(tmp_path: Path) -> None:
    with dagster_in(tmp_path) as instance:

        def report(first: int) -> None:
            for number in range(first, first + 25):
                written = dg.AssetMaterialization("thing", metadata={"number": number}, partition=f"{number % 40:02}")
                instance.report_runless_asset_event(written)

        threads = [threading.Thread(target=report, args=(first,)) for first in range(0, 100, 25)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(numbers(instance)) == list(range(100))


def test_files_of_old_runs_are_closed_and_can_be_read_again(tmp_path: Path) -> None:
    with dagster_in(tmp_path) as instance:
        for number in range(10, 35):
            make(instance, number)
        assert len(open_files(tmp_path)) <= 3 * 16 + 10  # a database, its journal and its shared memory
        oldest = instance.get_runs()[-1]
        assert any(entry.is_dagster_event for entry in instance.all_logs(oldest.run_id))
        instance.event_log_storage.dispose()
        assert open_files(tmp_path / "history" / "runs") == []
        assert len(numbers(instance)) == 25


def test_an_event_can_be_stored_while_another_statement_of_the_same_thread_runs(tmp_path: Path) -> None:
    """The lock is re-entrant, and the inner event is part of the outer transaction."""
    with dagster_in(tmp_path) as instance:
        storage = instance.event_log_storage
        assert isinstance(storage, KeptSqliteEventLogStorage)

        def report(number: int) -> None:
            written = dg.AssetMaterialization("thing", metadata={"number": number}, partition="07")
            instance.report_runless_asset_event(written)

        def outer(fail: bool) -> None:
            with storage.index_connection() as connection:
                connection.execute(sqlalchemy.text("SELECT 1"))
                report(8 if fail else 7)
                if fail:
                    raise RuntimeError

        outer(fail=False)
        with pytest.raises(RuntimeError):
            outer(fail=True)
        assert numbers(instance) == [7]


@dg.op
def ten_days(context: dg.OpExecutionContext) -> None:
    for number in range(10):
        written = dg.AssetMaterialization("thing", metadata={"number": number}, partition=f"{number:02}")
        context.log_event(written)


@dg.job
def materialize_ten_days() -> None:
    ten_days()


def test_events_of_a_range_of_days_are_stored_together_or_not_at_all(tmp_path: Path) -> None:
    with dagster_in(tmp_path / "made") as instance:
        run = materialize_ten_days.execute_in_process(instance=instance)
        first, *others = filter(is_materialization, instance.all_logs(run.run_id))

    commits: list[sqlalchemy.Connection] = []
    commit = commits.append
    with dagster_in(tmp_path / "copied") as instance:
        storage = instance.event_log_storage
        assert isinstance(storage, KeptSqliteEventLogStorage)
        storage.store_event(first)
        event.listen(sqlalchemy.Engine, "commit", commit)
        try:
            storage.store_event_batch(others[:8])
        finally:
            event.remove(sqlalchemy.Engine, "commit", commit)
        assert len(commits) == 2  # the file of the run and that of all runs
        with pytest.raises(AttributeError):
            storage.store_event_batch([others[8], "no event"])  # type: ignore[list-item]
        assert numbers(instance) == list(range(9))
        assert len(list(filter(is_materialization, instance.all_logs(run.run_id)))) == 9


def test_what_is_said_of_an_asset_is_the_same_stored_one_by_one_or_together(tmp_path: Path) -> None:
    def told(folder: Path, together: bool) -> list[Any]:
        with dagster_in(folder) as instance:
            storage = instance.event_log_storage
            for entry_batch in batches:
                if together:
                    storage.store_event_batch(entry_batch)
                else:
                    for entry in entry_batch:
                        storage.store_event(entry)
            keys = [dg.AssetKey("a"), dg.AssetKey("b")]
            return [record.asset_entry for record in storage.get_asset_records(keys)]

    def entry(name: str, day: int, at: float, run: str, planned: bool) -> dg.EventLogEntry:
        key, partition = dg.AssetKey(name), f"{day:02}"
        found = (
            DagsterEvent(
                DagsterEventType.ASSET_MATERIALIZATION_PLANNED.value,
                "a job",
                event_specific_data=AssetMaterializationPlannedData(key, partition=partition),
            )
            if planned
            else DagsterEvent(
                DagsterEventType.ASSET_MATERIALIZATION.value,
                "a job",
                event_specific_data=StepMaterializationData(
                    dg.AssetMaterialization(key, partition=partition, tags={"day": partition})
                ),
            )
        )
        return dg.EventLogEntry(None, "info", "", run, at, dagster_event=found)

    batches = [
        [entry("a", 1, 1.0, "first", True), entry("b", 1, 2.0, "first", True), entry("a", 2, 3.0, "first", True)],
        [entry("a", 1, 4.0, "first", False), entry("b", 1, 5.0, "first", False), entry("a", 2, 6.0, "first", False)],
        [entry("b", 2, 7.0, "second", False), entry("a", 3, 8.0, "second", True)],
        [entry("a", 4, 9.0, "third", False), entry("a", 5, 10.0, "third", True)],
    ]
    (together := tmp_path / "together").mkdir()
    (one_by_one := tmp_path / "one by one").mkdir()
    assert told(together, True) == told(one_by_one, False)


def is_materialization(entry: dg.EventLogEntry) -> bool:
    return entry.dagster_event_type is dg.DagsterEventType.ASSET_MATERIALIZATION


ROOT_IS_MANAGED = """
import logging, sys
from pathlib import Path
from typing import Any

import dagster as dg
from recsys_assets_tests.integration.world import dagster_in

@dg.asset
def thing(context: dg.AssetExecutionContext) -> None:
    logging.getLogger("some.library").warning("from a library")
    for run in context.instance.get_runs():
        context.instance.all_logs(run.run_id)
    context.instance.add_dynamic_partitions("names", ["a"])
    assert context.instance.has_dynamic_partition("names", "a")

folder = Path(sys.argv[1])
with dagster_in(folder) as instance:
    dg.materialize([thing], instance=instance)
# The file of the first run is opened within the second one: Alembic logs that, as SQLAlchemy does every statement.
logging.getLogger("sqlalchemy.engine").setLevel(logging.INFO)
with dagster_in(folder, python_logs={"managed_python_loggers": ["root"], "python_log_level": "DEBUG"}) as instance:
    result = dg.materialize([thing], instance=instance)
    assert result.success
    messages = [entry.user_message for entry in instance.all_logs(result.run_id)]
for part in ("from a library", "Context impl SQLiteImpl", "BEGIN (implicit)", "FROM dynamic_partitions", "COMMIT"):
    assert any(part in message for message in messages), (part, messages)
"""


def test_a_run_ends_where_every_python_logger_is_managed(tmp_path: Path) -> None:
    """What SQLAlchemy and Alembic log while the storage works is stored by the storage (Dagster issue 32217)."""
    program = [sys.executable, "-W", "ignore", "-c", ROOT_IS_MANAGED, str(tmp_path)]
    run = subprocess.run(program, capture_output=True, text=True, timeout=120, check=False)
    assert run.returncode == 0, run.stderr[-3000:]


def open_files(folder: Path) -> list[str]:
    targets = [str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    return [target for target in targets if target.startswith(str(folder))]
