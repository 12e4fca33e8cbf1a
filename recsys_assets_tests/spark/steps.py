"""Steps on the run's Spark cluster that pass, fail, or go on for ever: what the tests of its teardown run."""

import os
import time
from pathlib import Path

import dagster as dg
import narwhals as nw
import pyarrow as pa

from recsys_assets.definitions import build_resources
from recsys_assets.resources.engine import EngineResource
from recsys_assets.settings import load_settings

NUMBERS = pa.table({"key": [1, 2, 3]})
FOLDER = Path(os.environ.get("SPARK_STEPS_FOLDER", "."))


@dg.asset(io_manager_key="memory")
def fails(engine: EngineResource) -> None:
    frame = engine.open().from_arrow(NUMBERS)
    (FOLDER / "computed").write_text(str(frame.select(nw.col("key").sum()).collect(backend="polars").item()))
    raise RuntimeError("as it should")


@dg.asset(io_manager_key="memory")
def waits(engine: EngineResource) -> None:
    ready = FOLDER / "computed"

    def wait(batch: pa.Table) -> pa.Table:
        ready.write_text("6")
        time.sleep(600)
        return batch

    opened = engine.open()
    opened.map_batches(opened.from_arrow(NUMBERS), wait, NUMBERS.schema).collect(backend="polars")


SETTINGS = {"engine": "spark", "spark_memory": "1g", "landing_uri": str(FOLDER), "storage_uri": str(FOLDER / "store")}
defs = dg.Definitions(
    assets=[fails, waits],
    resources={**build_resources(*load_settings(**SETTINGS)), "memory": dg.mem_io_manager},
    executor=dg.in_process_executor,
)
