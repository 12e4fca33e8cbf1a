"""A recommender platform as a Dagster asset graph: from raw events to released recommendations.

Read ``definitions`` first: it wires everything. ``settings``, ``partitions`` and ``jobs`` say how a deployment differs,
which days there are and what people start. Each package's docstring says what belongs there. Packages import lower ones
only; ``pyproject.toml`` states the order and ``make lint`` checks it. Nothing else lies at the root.
"""

from typing import Any


def __getattr__(name: str) -> Any:
    """``RecommenderComponent``, which ``dg`` looks for here: loaded when asked for, since the API must not load it."""
    if name != "RecommenderComponent":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from recsys_assets.component.recommender import RecommenderComponent

    return RecommenderComponent


def __dir__() -> list[str]:
    """What ``dg`` lists."""
    return [*globals(), "RecommenderComponent"]
