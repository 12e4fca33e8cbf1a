"""The sensor that ends the runs of dead processes, as ``make run`` does and a step that waits for a pool."""

import dagster as dg

from recsys_assets.automation.event_storage import end_runs_of_dead_processes
from recsys_assets.resources.naming import Names

SECONDS = 30


def dead_runs_sensor(names: Names) -> dg.SensorDefinition:
    """The sensor of a graph; it looks at all runs of the instance."""

    @dg.sensor(
        name=names("dead_runs_sensor"),
        minimum_interval_seconds=SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Ends the runs of killed processes, for which pools and automation would wait. Starts nothing.",
    )
    def sensor(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        """End them and name them."""
        ended = [f"{run.run_id} of {run.job_name}" for run in end_runs_of_dead_processes(context.instance)]
        for run in ended:
            context.log.warning(f"run {run} was left by a process that was killed, and is ended")
        return dg.SkipReason(f"ended: {', '.join(ended)}" if ended else "every run that has started lives")

    return sensor
