"""The API on one screen: how much it is asked, how fast and from what it answers, and what goes wrong silently."""

from __future__ import annotations

from grafana_foundation_sdk.builders.dashboard import TextBoxVariable
from grafana_foundation_sdk.models.dashboard import Dashboard

from boards import panels
from boards.panels import BLUE, GREEN, GREY, RED, YELLOW

_API = 'job="recsys-api",instance=~"$instance"'
_ASKED = f'{_API},route!~"/health.*|/metrics"'
_LISTS = f'{_API},route=~"/(recommendations|sessions|similar|popular|rerank).*"'
_RATE = "[$__rate_interval]"
_STATUS = {"2..": GREEN, "4..": YELLOW, "5..": RED}


def _latency(quantile: float) -> str:
    return (
        f"histogram_quantile({quantile}, sum by (le) (rate(http_request_duration_seconds_bucket{{{_LISTS}}}{_RATE})))"
    )


def _offline(quantile: float) -> str:
    return f"histogram_quantile({quantile}, sum by (le) (rate(recsys_offline_share_bucket{{{_API}}}{_RATE})))"


_CPU = f"sum(rate(process_cpu_seconds_total{{{_API}}}{_RATE})) / $cores"
_MEMORY = f"sum(process_resident_memory_bytes{{{_API}}}) / ($memory * 2^30)"
_SILENT = f'{_API},reason!="unknown_user"'
_FALLBACKS = (
    f"(sum(rate(recsys_fallback_items_total{{{_SILENT}}}{_RATE})) or vector(0)) "
    f"/ sum(rate(recsys_recommended_items_total{{{_API}}}{_RATE}))"
)
_ERRORS = (
    f'(sum(rate(http_requests_total{{{_ASKED},status=~"5.."}}{_RATE})) or vector(0)) '
    f"/ sum(rate(http_requests_total{{{_ASKED}}}{_RATE}))"
)
_SHOWN = f"recsys_live_impressions{{{_API}}}"
_PRECISION = f"sum(recsys_live_precision{{{_API}}} * {_SHOWN}) / sum({_SHOWN})"
_STAND_IN = (
    f"sum by (reason) (rate(recsys_fallback_items_total{{{_API}}}{_RATE})) "
    f"/ on () group_left () sum(rate(recsys_recommended_items_total{{{_API}}}{_RATE}))"
)
_AGE = f"max(recsys_release_age_seconds{{{_API}}})"


def serving() -> Dashboard:
    """The dashboard of the API."""
    board = panels.dashboard(
        "Recommender: serving",
        "recsys-serving",
        "What visitors get: traffic, latency, sources, and what goes wrong silently.",
        "now-3h",
        ("Pipeline", "recsys-pipeline"),
        "recsys-api",
    )
    board.with_variable(
        TextBoxVariable("cores").label("Cores").description("CPU limit of what is looked at.").default_value("2")
    )
    board.with_variable(
        TextBoxVariable("memory").label("GiB").description("Memory limit of what is looked at.").default_value("2")
    )
    for panel in (*_now(), *_over_time()):
        board.with_panel(panel)
    return board.build()


def _now() -> list[panels.stat.Panel | panels.gauge.Panel]:
    """The first row: figures of now."""
    figure = panels.figure
    return [
        figure(
            "Requests",
            "Requests a second, without health checks and scrapes.",
            f"sum(rate(http_requests_total{{{_ASKED}}}{_RATE}))",
            "reqps",
        ),
        figure(
            "Failed requests",
            "Share of answers with a status of 500 or more. Objective: 0.1 %.",
            _ERRORS,
            "percentunit",
            (0.001, 0.01),
            2,
        ),
        figure(
            "Latency, 95 %",
            "95 of 100 lists are answered within this time. Objective: 99 of 100 within 100 ms.",
            _latency(0.95),
            "s",
            (0.05, 0.1),
        ),
        panels.share_gauge("CPU now", "CPU time of all workers, of the limit that Cores states.", _CPU),
        panels.share_gauge(
            "Memory now",
            "Resident memory, of the limit that GiB states; pages that workers share count for each.",
            _MEMORY,
        ),
        figure(
            "Release age",
            "Time since the end of the last day that the served release knows.",
            _AGE,
            "s",
            (129600, 172800),
            0,
        ),
        figure(
            "Silent fallbacks",
            "Share of items that stand in for personal ones although something was known of the visitor.",
            _FALLBACKS,
            "percentunit",
            (0.05, 0.2),
        ),
        figure(
            "Live precision",
            "Share of the impressions of the last 24 hours from which an event followed, over all placements.",
            _PRECISION,
            "percentunit",
            None,
            2,
        ),
    ]


def _over_time() -> list[panels.timeseries.Panel | panels.piechart.Panel]:
    """Three rows of courses."""
    lines, coloured, stacked = panels.lines, panels.coloured, panels.stacked
    return [
        coloured(
            stacked(
                lines(
                    "Traffic",
                    "Requests a second by status.",
                    {"{{status}}": f"sum by (status) (rate(http_requests_total{{{_ASKED}}}{_RATE}))"},
                    "reqps",
                    span=8,
                )
            ),
            _STATUS,
        ),
        coloured(
            lines(
                "Latency of lists",
                "Time to answer, the body included. The red line is the objective for 99 %.",
                {"50 %": _latency(0.5), "95 %": _latency(0.95), "99 %": _latency(0.99)},
                "s",
                span=8,
                limits=(0.05, 0.1),
            ),
            {"50 %": GREEN, "95 %": YELLOW, "99 %": RED},
        ),
        panels.shares(
            "Sources",
            "What put the items of the chosen time into answers; the ten most frequent sources.",
            f"topk(10, sum by (source) (increase(recsys_recommended_items_total{{{_API}}}[$__range])))",
            "{{source}}",
            span=8,
        ),
        panels.share_over_time("CPU", "Share of the limit that Cores states; dashed at 70 % and 90 %.", _CPU),
        panels.share_over_time("Memory", "Share of the limit that GiB states; dashed at 70 % and 90 %.", _MEMORY),
        coloured(
            lines(
                "Offline share of answers",
                "Share of an answer's items that come from the lists of last night, not from models asked now.",
                {"95 %": _offline(0.95), "median": _offline(0.5), "5 %": _offline(0.05)},
                "percentunit",
                span=6,
                most=1,
            ),
            {"95 %": GREY, "median": BLUE, "5 %": GREY},
        ),
        stacked(
            lines(
                "Errors by part",
                "Errors a second of the parts of the API; answers go on without most of them.",
                {"{{part}}": f"sum by (part) (rate(recsys_errors_total{{{_API}}}{_RATE}))"},
                "ops",
                span=6,
            )
        ),
        stacked(
            lines(
                "Items that stand in",
                "Share of all items, by reason: unknown_user are strangers; the others are silent fallbacks.",
                {"{{reason}}": _STAND_IN},
                "percentunit",
                span=8,
            )
        ),
        lines(
            "Live precision by placement",
            "Share of the impressions of the last 24 hours from which an event followed.",
            {"{{placement}}": f"max by (placement) (recsys_live_precision{{{_API}}})"},
            "percentunit",
            span=8,
        ),
        lines(
            "Events that wait",
            "Posted events that are not durable yet, and stored ones that are in no landing file yet.",
            {
                "to become durable": f"sum(recsys_events_queued{{{_API}}})",
                "for the landing zone": f"max(recsys_events_unexported{{{_API}}})",
            },
            "short",
            span=8,
        ),
    ]
