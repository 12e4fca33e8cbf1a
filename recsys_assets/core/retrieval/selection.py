"""Which generators a graph uses, and how many candidates each may give."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from recsys_assets.core.generator_registry import GeneratorRegistry
from recsys_assets.core.retrieval.protocol import Fitted, Generator, GeneratorQuota, generator


def select_generators(
    requested: str,
    registry: GeneratorRegistry,
    lacks: Callable[[str], bool],
    dataset: str,
    extras: Collection[str] = (),
) -> dict[str, Generator]:
    """The generators of a graph, in the order of the registry.

    Args:
        requested: comma-separated names, as ``RECSYS_GENERATORS`` has them, or ``all``; empty for those that are on by
            default and that the data set allows.
        registry: of all generators.
        lacks: whether the data set brings nothing for an asset.
        dataset: its name, for the error.
        extras: names that another setting turns on, beside the default ones.

    Raises:
        ValueError: a requested generator does not exist, or reads an asset that the data set brings nothing for.
    """
    explicit = bool(requested) and requested != "all"
    names = requested.split(",") if explicit else registry.names
    if unknown := sorted(set(names) - set(registry.names)):
        raise ValueError(
            f"RECSYS_GENERATORS: unknown: {', '.join(unknown)}; there are {', '.join(registry.names)} "
            f"(found {requested!r})"
        )
    loaded = {name: generator(registry, name) for name in registry.names if name in names}
    missing = {name: _missing_assets(source, lacks) for name, source in loaded.items()}
    unavailable = [name for name in names if missing[name]]
    if explicit and unavailable:
        name = unavailable[0]
        raise ValueError(
            f"RECSYS_GENERATORS: {name!r} reads {', '.join(missing[name])}, for which data set {dataset!r} has no files"
        )
    chosen = names if requested else [name for name in names if loaded[name].on_by_default or name in extras]
    return {name: source for name, source in loaded.items() if name in chosen and not missing[name]}


def quotas_of(generators: Mapping[str, Generator], k: int) -> dict[str, GeneratorQuota]:
    """Quota and weight of each generator.

    Args:
        generators: by name.
        k: candidates per user of a generator with share 1.
    """
    return {name: GeneratorQuota(max(1, int(k * source.share)), source.weight) for name, source in generators.items()}


def _missing_assets(source: Generator, lacks: Callable[[str], bool]) -> list[str]:
    """The assets that a generator reads and the graph does not have."""
    return [asset for asset in source.reads if lacks(asset)] if isinstance(source, Fitted) else []
