"""The pipeline: whether it runs, whether what it makes is fresh, what the gate decides, and how good the models are."""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import Dashboard

from boards import panels
from boards.panels import BLUE, GREEN, RED

_OWN = 'instance=~"$instance"'


def _series(name: str, **labels: str) -> str:
    """A metric of the pipeline; a value that begins with a tilde is a regular expression."""
    stated = [f'{label}=~"{value[1:]}"' if value[0] == "~" else f'{label}="{value}"' for label, value in labels.items()]
    return f"recsys_pipeline_{name}{{{','.join([_OWN, *stated])}}}"


def pipeline() -> Dashboard:
    """The dashboard of the pipeline."""
    board = panels.dashboard(
        "Recommender: pipeline",
        "recsys-pipeline",
        "Runs, gates, freshness, rows and model quality by day.",
        "now-24h",
        ("Serving", "recsys-serving"),
        "recsys-pipeline",
    )
    for panel in (*_now(), *_by_day(), *_over_time()):
        board.with_panel(panel)
    return board.build()


def _now() -> list[panels.stat.Panel]:
    """The first row: figures of now."""
    figure, day = panels.figure, 86400
    return [
        figure(
            "Last release made",
            "Time since a release was last made, whatever its day. Limit: RECSYS_FRESH_HOURS, 36 by default.",
            f"time() - max({_series('asset_materialized_timestamp_seconds', asset='~(.*/)?release')})",
            "s",
            (1.2 * day, 1.5 * day),
            0,
        ),
        figure(
            "Newest events",
            "Time since the end of the newest day that has events.",
            f"time() - max({_series('newest_day_end_timestamp_seconds', of='events')})",
            "s",
            (1.2 * day, 1.5 * day),
            0,
        ),
        panels.name(
            "Lists ordered by",
            "Who ordered the lists of the served release: the ranker, the fused generators, or one of them.",
            _series("release_info"),
            "ordered_by",
        ),
        figure(
            "Failed runs",
            "Failed runs of the last 7 days.",
            f"sum({_series('runs', status='failure')}) or vector(0)",
            "none",
            (1, 5),
            0,
        ),
        figure(
            "Longest wait",
            "How long the run has waited that waits longest.",
            f"max({_series('queue_oldest_seconds')})",
            "s",
            (600, 3600),
            0,
        ),
        figure(
            "Failed checks",
            "Checks whose latest result is a failure, warnings included.",
            f"count({_series('check_passed')} == 0) or vector(0)",
            "none",
            (1, 5),
            0,
        ),
        figure(
            "Waits for a person",
            "Files set aside, cut or vanished, and days held, on which a person has to decide: recsys landing.",
            f"max({_series('waiting_for_a_person')})",
            "none",
            (1, 5),
            0,
        ),
        figure("Store", "Bytes in the store.", f"sum({_series('store_bytes')})", "bytes"),
    ]


def _by_day() -> list[panels.barchart.Panel | panels.bargauge.Panel]:
    """Two rows by day of the data."""
    return [
        panels.days(
            "NDCG@10 by day",
            "Of released lists, ranker, champion, fused generators and popular items, on the horizon up to the day.",
            f"max by (day, model) ({_series('model_ndcg', k='10')})",
            "model",
            "none",
            span=8,
        ),
        panels.days(
            "Recall@10 by day",
            "Of the same contenders on the same targets.",
            f"max by (day, model) ({_series('model_recall', k='10')})",
            "model",
            "percentunit",
            span=8,
        ),
        panels.days(
            "Gain at the gate by day",
            "Gain of the day's ranker in NDCG@10 over what it had to beat. It passes where low is above 0.",
            f"max by (day, bound) ({_series('gate_gain')})",
            "bound",
            "none",
            span=8,
        ),
        panels.days(
            "Rows by day",
            "What became of the rows of each day's event files.",
            f"max by (day, outcome) ({_series('event_rows')})",
            "outcome",
            "short",
            span=16,
            stack=True,
        ),
        panels.ranking(
            "Store by asset",
            "The ten largest assets and folders of the store.",
            f"topk(10, max by (asset) ({_series('store_bytes')}))",
            "{{asset}}",
            "bytes",
            span=8,
        ),
    ]


def _over_time() -> list[panels.timeseries.Panel | panels.table.Panel]:
    """Runs, the queue, and tables of gate, freshness and checks."""
    status = {"success": GREEN, "failure": RED, "started|queued": BLUE}
    return [
        panels.coloured(
            panels.stacked(
                panels.lines(
                    "Runs of the last 7 days",
                    "By status, at each moment.",
                    {"{{status}}": f"sum by (status) ({_series('runs')})"},
                    "none",
                    span=8,
                )
            ),
            status,
        ),
        panels.lines(
            "Duration of runs",
            "How long the last successful run of each job took.",
            {"{{dagster_job}}": f"max by (dagster_job) ({_series('last_run_duration_seconds', status='success')})"},
            "s",
            span=8,
        ),
        panels.lines(
            "Queue and backfills",
            "Runs that wait to start, and backfills that are under way.",
            {
                "runs": f"max({_series('queued_runs')})",
                "backfills": f"sum({_series('backfills', status='~requested|canceling|failing')})",
            },
            "none",
            span=8,
        ),
        panels.rows(
            "Last decision of the gate",
            "On the newest day that was evaluated.",
            f"max by (day, verdict, against, ordered_by) ({_series('gate_info')})",
            {
                "day": "day",
                "verdict": "verdict",
                "against": "had to beat",
                "ordered_by": "lists ordered by",
                "Value": "counts",
            },
            span=8,
        ),
        panels.rows(
            "Age of assets",
            "Time since each asset was last materialized, the oldest first.",
            f"sort_desc(time() - max by (asset) ({_series('asset_materialized_timestamp_seconds')}))",
            {"asset": "asset", "Value": "age"},
            unit="s",
            span=8,
        ),
        panels.rows(
            "Checks",
            "Latest result of each check, failures (0) first.",
            f"sort(max by (asset, check, severity) ({_series('check_passed')}))",
            {"asset": "asset", "check": "check", "severity": "severity", "Value": "passed"},
            span=8,
        ),
    ]
