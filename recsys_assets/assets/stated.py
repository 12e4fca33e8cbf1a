"""Which stated values decide the bytes of which asset: the table behind fingerprints and staleness.

Each asset names what its own code reads of the settings and of the data set's contract; what its inputs read counts for
it too. A test runs the graph with settings and a data set that record what is read of them, and compares.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date
from fnmatch import fnmatchcase
from typing import Any, cast

import dagster as dg
from pydantic import BaseModel

from recsys_assets.core.dataset import Dataset
from recsys_assets.core.events.parse import PARSER_VERSION
from recsys_assets.core.generator_registry import GeneratorRegistry
from recsys_assets.resources.naming import asset_name
from recsys_assets.settings import PREFIX, Settings
from recsys_assets.storage.objects import Json
from recsys_assets.storage.stated import Stated

_PARSER = "code_version of the parser"
_FILES = ("ids.*", "start_date", "end_date", "day_starts_at", _PARSER)
_EVENT_FILES = (*_FILES, "events.*", "!events.types.*.weight", "!events.types.*.target")
_TYPES = ("events.types.*",)
_POLICY = ("exclude_purchased", "category_cap", "diversity", "new_item_quota", "new_item_days")
_FIT = ("factors_days", "factors_half_life", "active_days", "horizon_days", "covisit_days", "seed", "day_starts_at")
_CANDIDATES = (
    *_FIT,
    *("generators", "candidates_k", "activity_days", "popular_days", "trending_days", "repeat_half_life"),
    *("covisit_half_life", "new_item_days", "new_item_quota", "exclude_unavailable", "factors", "als_iterations"),
    "repeats",
)
_FITTED = (*_FIT, *_CANDIDATES)
_PERIOD = ("tuning_every_days", "tuning_seconds", "RECSYS_START_DATE", "seed")
_GATE = ("horizon_days", "training_windows", "activity_days", "min_evaluated_users", "mode", "seed")

READS: Mapping[str, Sequence[str]] = {
    "clean_events": (*_EVENT_FILES, "session_gap_minutes"),
    "rejected_events": _EVENT_FILES,
    "event_counts": (),
    "impressions": _FILES,
    "attribution": ("attribution_hours", *_TYPES),
    "item_properties": (*_FILES, "properties*"),
    "category_tree": (*_FILES, "categories*"),
    "item_embeddings": (*_FILES, "embeddings*"),
    "item_features": ("properties_days", "activity_days", "day_starts_at"),
    "bot_users": ("bots.*",),
    "user_activity": _TYPES,
    "item_activity": _TYPES,
    "item_pairs": (),
    "top_popular": (
        *("popular_windows", "popular_days", "trending_days", "trending_half_life", "popular_k", "active_days"),
        *("exclude_unavailable", "horizon_days", "min_evaluated_users", "day_starts_at", *_TYPES),
    ),
    "covisited_items": ("covisit_days", "similar_k", "day_starts_at"),
    "similar_items": ("similar_k",),
    "item_factors": (*_CANDIDATES,),
    "session_model": (*_CANDIDATES,),
    "cf_ensemble": _FITTED,
    "retrieval_params": (
        *_CANDIDATES,
        *_PERIOD,
        *("tuning_als_trials", "tuning_fusion_trials", "training_windows", "min_evaluated_users"),
    ),
    "candidates": _CANDIDATES,
    "ranking_examples": (*_CANDIDATES, *_TYPES),
    "ranker_params": (*_PERIOD, "tuning_trials", "training_windows", "horizon_days"),
    "ranker": ("training_windows", "horizon_days", "seed"),
    "ranker_evaluation": (*_CANDIDATES, *_GATE, *_POLICY, *_TYPES),
    "champion": (*_CANDIDATES, *_GATE),
    "promotion": (*_CANDIDATES, *_GATE),
    "served_ranker": ("training_windows", "horizon_days", "refit"),
    "recommendations": (*_CANDIDATES, *_POLICY, *_TYPES, "recommendations_k"),
    "explanations": (*_CANDIDATES, "explained_items"),
    "user_histories": _CANDIDATES,
    "release": (*_CANDIDATES, "mode", "explained_items", "trending_half_life", "popular_windows", *_TYPES),
    "data_report": ("report_days", *_TYPES),
    "feedback_report": ("report_days", "attribution_hours", *_TYPES),
    "backtest_report": ("backtest_days",),
    "recommendations_table": (),
    "model_tracking": (),
    "experiment_model": ("horizon_days", "seed"),
    "experiment_validation": (*_CANDIDATES, *_GATE),
    "experiment_challenger": (*_CANDIDATES, *_GATE),
    "experiment_promotion": (*_CANDIDATES, *_GATE),
    "model_comparison": ("horizon_days",),
}
"""By asset: fields of the settings by name, and values of the data set by path, with ``*`` for any rest and ``!``
before what is left out.

The settings' own first day is ``RECSYS_START_DATE``, since the data set has a ``start_date`` too.
"""

READS_EARLIER: Mapping[str, Sequence[str]] = {"retrieval_params": ("ranking_examples",)}
"""What assets read of earlier days past the graph, which would have a circle otherwise."""

NOT_DECIDING: frozenset[str] = frozenset(
    {
        # Where things are, what runs them and who is told.
        *("dataset", "landing_uri", "landing_links", "storage_uri", "key_prefix", "engine", "memory_limit"),
        *("spill_folder", "executor"),
        *("spark_cluster", "spark_workers", "spark_memory", "emr_role_arn", "emr_release", "emr_image"),
        *("automation", "sensor_seconds", "fresh_hours", "api_port", "ui_port"),
        # What waits for a person, and what is kept.
        *("missing_share", "deleted_share", "keep_logs_days", "keep_releases"),
        *("tuning_storage_uri", "mlflow_port", "mlflow_tracking_uri", "mlflow_artifacts_uri", "mlflow_experiment"),
        *("notify_webhook_url", "telegram_token", "telegram_chat_id"),
        *("recommendations_url", "recommendations_schema", "openlineage_url", "openlineage_api_key"),
        # The last day of the graph. The content of placements.toml is part of a release, not its path.
        *("RECSYS_END_DATE", "placements"),
        # The store's own name, the values of settings that it brings, and files whose contents are compared.
        *("name", "defaults.*", "*.files"),
    }
)
"""Fields that change no byte of a partition, or that are compared elsewhere."""


def stated_of(
    settings: Settings,
    dataset: Dataset,
    assets: Iterable[dg.AssetSpec],
    registry: GeneratorRegistry,
) -> Stated:
    """What is stated for the assets of a graph.

    Args:
        settings: of the graph.
        dataset: that the settings name.
        assets: what is declared of its assets, with code versions and dependencies.
        registry: its generators; models of fitted ones read what all fitted ones do.

    Raises:
        KeyError: an asset is not in :data:`READS`.
    """
    fields = {**setting_values(settings), **dataset_values(dataset), _PARSER: (PARSER_VERSION, False)}
    models = {f"{name}_model" for name in registry.fitted}
    own: dict[str, dict[str, Json]] = {}
    upstream: dict[str, list[str]] = {}
    for spec in assets:
        asset = asset_name(spec.key)
        if spec.code_version is None:  # files of others
            continue
        patterns = READS[asset] if asset in READS or asset not in models else _FITTED
        own[asset] = {name: value for name, (value, _) in fields.items() if is_read(name, patterns)}
        own[asset][f"code_version of {asset}"] = spec.code_version
        upstream[asset] = [*(asset_name(dep.asset_key) for dep in spec.deps), *READS_EARLIER.get(asset, ())]
    return Stated(own, upstream, {name for name, (_, is_default) in fields.items() if is_default})


def is_read(name: str, patterns: Sequence[str]) -> bool:
    """Whether a field, by the name that people state it by, is among those of a declaration."""
    left_out = [pattern[1:] for pattern in patterns if pattern.startswith("!")]
    return _matches(name, patterns) and not _matches(name, [*left_out, *NOT_DECIDING])


def decides_nothing(name: str) -> bool:
    """Whether a field is declared to change no byte."""
    return _matches(name, NOT_DECIDING)


def setting_values(settings: Settings) -> dict[str, tuple[Json, bool]]:
    """The value of each setting that decides anything, by its variable, and whether it is the default."""
    names = {stated_name(field): field for field in Settings.model_fields}
    return {
        name: (_plain(getattr(settings, field)), getattr(settings, field) == Settings.model_fields[field].default)
        for name, field in names.items()
        if not decides_nothing(name)
    }


def stated_name(field: str) -> str:
    """The variable of a setting."""
    return f"{PREFIX}{field.upper()}"


def dataset_values(dataset: Dataset) -> dict[str, tuple[Json, bool]]:
    """Each value of a data set by its path, such as ``events.types.buy.weight``, and whether it is the default."""
    return {name: (value, is_default) for name, value, is_default in _leaves("", dataset)}


def _leaves(path: str, value: Any, is_default: bool = False) -> Iterator[tuple[str, Json, bool]]:
    if isinstance(value, BaseModel):
        for name, field in type(value).model_fields.items():
            part = getattr(value, name, None)
            default = field.get_default(call_default_factory=True)
            yield from _leaves(f"{path}.{name}" if path else name, part, part == default)
    elif isinstance(value, dict):
        table = cast("dict[str, Any]", value)
        for name, part in table.items():
            yield from _leaves(f"{path}.{name}", part, is_default)
    elif hasattr(value, "__dataclass_fields__"):
        for name in value.__dataclass_fields__:
            yield from _leaves(f"{path}.{name}", getattr(value, name), is_default)
    else:
        yield path, _plain(value), is_default


def _plain(value: Any) -> Json:
    """A value as JSON has it."""
    if isinstance(value, date):
        return value.isoformat()
    return [_plain(part) for part in cast("Iterable[Any]", value)] if isinstance(value, tuple | list) else value


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(
        name == stated_name(pattern)
        if pattern in Settings.model_fields and pattern not in Dataset.model_fields
        else fnmatchcase(name, pattern)
        for pattern in patterns
    )
