"""Panels as both dashboards have them: one look for lines, figures, gauges, bars by day, shares and tables.

A row of Grafana's grid is 38 pixels high and has 24 columns. A browser on a screen of 1920 × 1080 shows 22 rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from grafana_foundation_sdk.builders import (
    barchart,
    bargauge,
    common,
    gauge,
    piechart,
    prometheus,
    stat,
    table,
    timeseries,
)
from grafana_foundation_sdk.builders.dashboard import (
    Dashboard,
    DashboardLink,
    DatasourceVariable,
    FieldColor,
    QueryVariable,
    ThresholdsConfig,
)
from grafana_foundation_sdk.models.common import (
    BarGaugeDisplayMode,
    BigValueColorMode,
    BigValueGraphMode,
    BigValueTextMode,
    DataSourceRef,
    GraphThresholdsStyleMode,
    LegendDisplayMode,
    LegendPlacement,
    SortOrder,
    StackingMode,
    TooltipDisplayMode,
    VisibilityMode,
    VizOrientation,
)
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DashboardLinkType,
    DataTransformerConfig,
    DynamicConfigValue,
    FieldColorModeId,
    Threshold,
    ThresholdsMode,
    VariableOption,
    VariableRefresh,
)
from grafana_foundation_sdk.models.piechart import PieChartLegendValues, PieChartType
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

ROWS_OF_A_SCREEN = 22
GREEN, YELLOW, RED, BLUE, GREY = "green", "yellow", "red", "blue", "#808080"
SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")

Queries = Mapping[str, str]
"""Expressions by the legend of what they give."""
Limits = tuple[float, float]
"""Where yellow begins, and where red does; descending where less is worse."""
_FULL: Limits = (0.7, 0.9)
Panel = TypeVar(
    "Panel",
    stat.Panel,
    gauge.Panel,
    timeseries.Panel,
    barchart.Panel,
    piechart.Panel,
    table.Panel,
    bargauge.Panel,
)


def dashboard(title: str, uid: str, about: str, since: str, other: tuple[str, str], jobs: str) -> Dashboard:
    """An empty dashboard with the variables that all panels use.

    Args:
        title: of the dashboard.
        uid: part of its address.
        about: description.
        since: how far back it looks, such as ``now-6h``.
        other: title and uid of the other dashboard, for a link.
        jobs: the scrape job whose instances can be chosen.
    """
    instances = (
        QueryVariable("instance")
        .label("Instance")
        .description("Which processes to look at; those of one address count together.")
        .datasource(SOURCE)
        .query(f'label_values(up{{job="{jobs}"}}, instance)')
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .multi(True)
        .include_all(True)
        .all_value(".*")
        .current(VariableOption(selected=True, text="All", value="$__all"))
    )
    link = DashboardLink(other[0]).type(DashboardLinkType.LINK).url(f"/d/{other[1]}").keep_time(True)
    return (
        Dashboard(title)
        .uid(uid)
        .description(about)
        .tags(["recsys"])
        .time(since, "now")
        .refresh("30s")
        .timezone("browser")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .readonly()
        .link(link)
        .with_variable(DatasourceVariable("datasource").label("Prometheus").type("prometheus"))
        .with_variable(instances)
    )


def figure(title: str, about: str, expr: str, unit: str, limits: Limits | None = None, decimals: int = 1) -> stat.Panel:
    """One figure of now, with its course behind it; its colour says how it is."""
    panel = stat.Panel().graph_mode(BigValueGraphMode.AREA).color_mode(BigValueColorMode.VALUE).decimals(decimals)
    return _common(panel, title, about, {"": expr}, unit).thresholds(_thresholds(limits)).span(3).height(4)


def name(title: str, about: str, expr: str, label: str) -> stat.Panel:
    """The value of a label as text."""
    panel = stat.Panel().graph_mode(BigValueGraphMode.NONE).color_mode(BigValueColorMode.NONE)
    panel = _common(panel, title, about, {f"{{{{{label}}}}}": expr}, "none", instant=True)
    return panel.text_mode(BigValueTextMode.NAME).span(3).height(4)


def share_gauge(title: str, about: str, expr: str) -> gauge.Panel:
    """A share of a limit: yellow from 70 %, red from 90 % on."""
    panel = _common(gauge.Panel(), title, about, {"": expr}, "percentunit")
    return panel.min(0).max(1).decimals(0).thresholds(_thresholds(_FULL)).span(3).height(4)


def lines(
    title: str,
    about: str,
    queries: Queries,
    unit: str,
    *,
    span: int,
    limits: Limits | None = None,
    most: float | None = None,
) -> timeseries.Panel:
    """Lines over time; limits are dashed lines."""
    panel = (
        _common(timeseries.Panel(), title, about, queries, unit)
        .line_width(2)
        .fill_opacity(8)
        .show_points(VisibilityMode.NEVER)
        .span_nulls(True)
        .min(0)
        .legend(_legend(LegendPlacement.BOTTOM))
        .tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI).sort(SortOrder.DESCENDING))
        .span(span)
        .height(6)
    )
    if most is not None:
        panel.max(most)
    if limits:
        dashed = common.GraphThresholdsStyleConfig().mode(GraphThresholdsStyleMode.DASHED)
        panel.thresholds(_thresholds(limits)).thresholds_style(dashed)
    return panel


def share_over_time(title: str, about: str, expr: str) -> timeseries.Panel:
    """A share of a limit as a line, with the limits of :func:`share_gauge`."""
    return lines(title, about, {"used": expr}, "percentunit", span=6, limits=_FULL, most=1)


def stacked(panel: timeseries.Panel) -> timeseries.Panel:
    """Lines as areas on top of each other."""
    return panel.fill_opacity(40).line_width(1).stacking(common.StackingConfig().mode(StackingMode.NORMAL).group("A"))


def coloured(panel: timeseries.Panel, colours: Mapping[str, str]) -> timeseries.Panel:
    """Lines of the same meaning have the same colour everywhere; names are regular expressions."""
    for pattern, colour in colours.items():
        fixed = {"mode": "fixed", "fixedColor": colour}
        panel.override_by_regexp(pattern, [DynamicConfigValue(id_val="color", value=fixed)])
    return panel


def days(
    title: str, about: str, expr: str, column: str, unit: str, *, span: int, stack: bool = False
) -> barchart.Panel:
    """Bars for each day of the data, which is a label: a colour for each value of another label."""
    by_day = DataTransformerConfig(
        id_val="groupingToMatrix", options={"columnField": column, "rowField": "day", "valueField": "Value"}
    )
    by_name = DataTransformerConfig(id_val="sortBy", options={"sort": [{"field": f"day\\{column}"}]})
    return (
        _common(barchart.Panel(), title, about, {"": expr}, unit, instant=True, rows=True)
        .with_transformation(by_day)
        .with_transformation(by_name)
        .x_field(f"day\\{column}")
        .orientation(VizOrientation.VERTICAL)
        .stacking(StackingMode.NORMAL if stack else StackingMode.NONE)
        .fill_opacity(80)
        .legend(_legend(LegendPlacement.BOTTOM))
        .tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI))
        .span(span)
        .height(7)
    )


def shares(title: str, about: str, expr: str, legend: str, *, span: int) -> piechart.Panel:
    """Parts of a whole as a ring."""
    values = [PieChartLegendValues.PERCENT]
    return (
        _common(piechart.Panel(), title, about, {legend: expr}, "short", instant=True)
        .pie_type(PieChartType.DONUT)
        .legend(
            piechart.PieChartLegendOptions()
            .display_mode(LegendDisplayMode.TABLE)
            .placement(LegendPlacement.RIGHT)
            .show_legend(True)
            .values(values)
        )
        .span(span)
        .height(6)
    )


def ranking(title: str, about: str, expr: str, legend: str, unit: str, *, span: int) -> bargauge.Panel:
    """Horizontal bars, the largest first."""
    panel = _common(bargauge.Panel(), title, about, {legend: expr}, unit, instant=True)
    colour = FieldColor().mode(FieldColorModeId.FIXED).fixed_color(BLUE)
    panel.orientation(VizOrientation.HORIZONTAL).display_mode(BarGaugeDisplayMode.BASIC).min(0).color_scheme(colour)
    return panel.span(span).height(7)


def rows(
    title: str, about: str, expr: str, columns: Mapping[str, str], *, unit: str = "none", span: int
) -> table.Panel:
    """A table of labels and a value.

    Args:
        title: of the panel.
        about: description.
        expr: its series are the rows, in the order that it gives them.
        columns: label to heading, in order; ``Value`` is the value.
        unit: of the value.
        span: columns of the grid.
    """
    kept = DataTransformerConfig(
        id_val="organize",
        options={
            "excludeByName": {"Time": True, "job": True, "instance": True, "__name__": True},
            "indexByName": {label: place for place, label in enumerate(columns)},
            "renameByName": dict(columns),
        },
    )
    panel = _common(table.Panel(), title, about, {"": expr}, "none", instant=True, rows=True).with_transformation(kept)
    return (
        panel.override_by_name(columns["Value"], [DynamicConfigValue(id_val="unit", value=unit)]).span(span).height(7)
    )


def _common(
    panel: Panel, title: str, about: str, queries: Queries, unit: str, *, instant: bool = False, rows: bool = False
) -> Panel:
    panel.title(title).description(about).datasource(SOURCE).unit(unit)
    for letter, (legend, expr) in zip("ABCDEF", queries.items(), strict=False):
        query = prometheus.Dataquery().expr(expr).ref_id(letter).legend_format(legend or "__auto").datasource(SOURCE)
        query = query.instant() if instant else query.range()
        panel.with_target(query.format(PromQueryFormat.TABLE) if rows else query)
    return panel


def _thresholds(limits: Limits | None) -> ThresholdsConfig:
    steps = [Threshold(value=None, color=BLUE)]
    if limits:
        first, second = limits
        more_is_worse = first < second
        steps = (
            [Threshold(None, GREEN), Threshold(first, YELLOW), Threshold(second, RED)]
            if more_is_worse
            else [Threshold(None, RED), Threshold(second, YELLOW), Threshold(first, GREEN)]
        )
    return ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps)


def _legend(placement: LegendPlacement) -> common.VizLegendOptions:
    return common.VizLegendOptions().display_mode(LegendDisplayMode.LIST).placement(placement).show_legend(True)
