"""The sensor of erasures: starts ``erase_user`` for each request that serving has written to the store."""

from __future__ import annotations

from datetime import UTC, datetime

import dagster as dg

from recsys_assets.automation.event_log import store_tag
from recsys_assets.erasure.job import JOB, EraseUserConfig
from recsys_assets.resources.naming import Names
from recsys_assets.resources.store import StoreResource
from recsys_assets.settings import Settings
from recsys_assets.storage.erasure_requests import list_requests, read_request

SECONDS = 30


def erasure_sensor(settings: Settings) -> dg.SensorDefinition:
    """The sensor of a graph.

    A request is gone once the person is erased. One whose run has failed is tried again on the next day.

    Args:
        settings: where its store is.
    """
    tags, names = store_tag(settings.storage_uri), Names.of(settings)

    @dg.sensor(
        name=names("erasure_sensor"),
        job_name=names(JOB),
        minimum_interval_seconds=SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Starts erase_user for each request of the API, DELETE /users/{user_id}.",
    )
    @names.bind
    def sensor(context: dg.SensorEvaluationContext, store: StoreResource) -> dg.SensorResult | dg.SkipReason:
        opened, today = store.open(), datetime.now(UTC).date()
        requests: list[dg.RunRequest] = []
        faults: list[str] = []
        for key in list_requests(opened):
            try:
                request = read_request(opened, key)
            except ValueError as error:
                context.log.warning(str(error))
                faults.append(str(error))
                continue
            if request is not None:
                config = EraseUserConfig(user_id=str(request.user_id), request=key, requested_at=request.requested_at)
                requests.append(
                    dg.RunRequest(
                        run_key=f"{key}:{request.requested_at}:{today}",
                        run_config=dg.RunConfig(ops={"erase": config}),
                        tags=tags,
                    )
                )
        if requests:
            return dg.SensorResult(run_requests=requests)
        return dg.SkipReason("; ".join(faults) or "nobody is to be erased")

    return sensor
