"""Days that are written in one run: each is audited, whether it was small enough to be audited with others or not."""

from pathlib import Path

import dagster as dg
import narwhals as nw
import pyarrow as pa
import pytest

from recsys_assets.core.contracts import BOT_USERS, IdTypes, arrow_schema
from recsys_assets.core.engine import Engine, Frame
from recsys_assets.definitions import build_resources
from recsys_assets.io_managers import frame_writer
from recsys_assets.io_managers.frame_writer import FrameWriter
from recsys_assets.settings import load_settings
from recsys_assets_tests.integration.world import dagster_in

DAYS = ["2015-05-01", "2015-05-02", "2015-05-03", "2015-05-04", "2015-05-05"]
USERS = {
    "2015-05-01": [7, 8],
    "2015-05-02": [7],  # as on the day before, which is no repetition: a key is unique within its day
    "2015-05-03": [9, 9],
    "2015-05-04": [],
    "2015-05-05": [7, 1, 7, 1, 2],
}


def bots_of(day: str) -> pa.Table:
    users = USERS[day]
    columns = {name: [1] * len(users) for name in ("pace", "typical_pace", "events", "moments", "minutes", "hours")}
    hours = {"hours": [25 if user == 2 else 1 for user in users]}
    values = {"user_id": users, "reason": ["pace"] * len(users), **columns, **hours}
    return pa.table(values).cast(arrow_schema(BOT_USERS, IdTypes()))


@dg.asset(
    partitions_def=dg.DailyPartitionsDefinition(DAYS[0], end_date="2015-05-06"),
    check_specs=[dg.AssetCheckSpec("contract", asset="bot_users"), dg.AssetCheckSpec("counted", asset="bot_users")],
)
def bot_users(context: dg.AssetExecutionContext, frames: FrameWriter):
    return frames.write(context, bots_of, partition_checks=[counted])


def counted(day: str, frame: Frame) -> dg.AssetCheckResult:
    rows = frame.select(nw.len()).collect(backend="polars").item()
    return dg.AssetCheckResult(check_name="counted", passed=rows == len(USERS[day]))


@pytest.mark.parametrize(("rows_together", "audits"), [(1_000_000, 1 + 5), (3, 1 + (1 + 2) + 1), (0, 5)])
def test_each_day_of_a_run_has_its_verdict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows_together: int, audits: int
) -> None:
    asked: list[int] = []
    audit = frame_writer.audit

    def counting(engine: Engine, frame: Frame, contract: frame_writer.Contract) -> frame_writer.Audit:
        asked.append(1)
        return audit(engine, frame, contract)

    monkeypatch.setattr(frame_writer, "audit", counting)
    monkeypatch.setattr(frame_writer, "_ROWS_TOGETHER", rows_together)
    settings, dataset = load_settings(landing_uri=str(tmp_path / "landing"), storage_uri=str(tmp_path / "store"))
    with dagster_in(tmp_path / "dagster") as instance:
        result = dg.materialize(
            [bot_users],
            instance=instance,
            resources=build_resources(settings, dataset),
            tags={
                "dagster/asset_partition_range_start": DAYS[0],
                "dagster/asset_partition_range_end": DAYS[-1],
            },
        )
    assert len(asked) == audits
    evaluations = result.get_asset_check_evaluations()
    of_day = {one.partition: values_of(one) for one in evaluations if one.check_name == "contract" and one.partition}
    assert of_day == {
        "2015-05-03": {"rows": 2, "duplicate key (user_id)": 1},
        "2015-05-05": {"rows": 5, "hours > 24": 1, "duplicate key (user_id)": 2},
    }
    of_run = {one.check_name: one for one in evaluations if not one.partition}
    assert not of_run["contract"].passed
    assert values_of(of_run["contract"]).items() >= {"partitions": 5, "failed": 2}.items()
    assert of_run["counted"].passed


def values_of(evaluation: dg.AssetCheckEvaluation) -> dict[str, object]:
    return {name: value.value for name, value in evaluation.metadata.items()}
