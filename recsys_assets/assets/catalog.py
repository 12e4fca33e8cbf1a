"""Group catalog: item properties, the category tree and item features as of each day."""

import dagster as dg

from recsys_assets.assets.builder import GraphBuilder
from recsys_assets.assets.events import known_values
from recsys_assets.core.catalog.features import item_features as features_as_of
from recsys_assets.core.catalog.tree import build_tree
from recsys_assets.ingest.landing import LandingZone
from recsys_assets.io_managers.frame_writer import FrameWriter
from recsys_assets.io_managers.handles import Partitions, Staged
from recsys_assets.partitions import window

Result = dg.MaterializeResult[Staged]

_MAX_ORPHANS = 0.2
"""Share of nodes below unknown parents; above it, the file is more likely truncated than slightly dirty."""


def build(graph: GraphBuilder) -> list[dg.AssetsDefinition]:
    """Properties by day, the category tree, and the features of items as of a day."""
    settings, spec = graph.settings, graph.dataset.categories

    @graph.asset("catalog", grain="day", advisory=("known_values",), code_version="2")
    def item_properties(
        context: dg.AssetExecutionContext, landing: dg.ResourceParam[LandingZone], frames: FrameWriter
    ) -> Result:
        """Snapshots of category, availability, price, brand and title that fall on the day."""
        return frames.write(
            context,
            landing.properties,
            partition_checks=[known_values(landing, "properties")],
            params=lambda day: {"files": landing.digests("properties", day)},
        )

    @graph.asset("catalog", grain="day", checks=("contract", "orphans"))
    def category_tree(
        context: dg.AssetExecutionContext, landing: dg.ResourceParam[LandingZone], frames: FrameWriter
    ) -> Result:
        """Categories with root, depth and path, as the landing zone states them; a cycle or two parents fail."""
        tree = build_tree(landing.categories(), spec.root if spec else ())
        share = len(tree.orphans) / max(1, tree.table.num_rows + len(tree.orphans))
        orphans = dg.AssetCheckResult(
            check_name="orphans",
            passed=share <= _MAX_ORPHANS,
            metadata={"orphans": len(tree.orphans), "share": share, "first": ", ".join(tree.orphans[:10])},
        )
        return frames.write(
            context,
            lambda _: tree.table,
            params={"files": landing.digests("categories", "")},
            checks=[orphans],
        )

    @graph.asset(
        "catalog",
        reads={
            "item_properties": window(settings.properties_days),
            "item_activity": window(settings.activity_days),
            "category_tree": None,
        },
        code_version="3",
        kinds=("parquet", graph.settings.engine),
    )
    def item_features(
        context: dg.AssetExecutionContext,
        item_properties: Partitions,
        item_activity: Partitions,
        category_tree: Partitions,
        frames: FrameWriter,
    ) -> Result:
        """What was last known of each item at the end of the day, such as category and price, whatever came later."""
        return frames.write(
            context,
            lambda day: features_as_of(
                item_properties.frame(), item_activity.frame(), category_tree.frame(), graph.end(day), graph.day(day)
            ),
            metadata={**item_properties.facts, **item_activity.facts},
        )

    return [
        item_properties,
        category_tree,
        item_features,
        *([] if graph.lacks("item_embeddings") else [_embeddings(graph)]),
    ]


def _embeddings(graph: GraphBuilder) -> dg.AssetsDefinition:
    """For data sets that have embeddings."""

    # As of a day, unlike other files: a copy for each day of the history would be many times the history.
    @graph.asset("catalog")
    def item_embeddings(
        context: dg.AssetExecutionContext, landing: dg.ResourceParam[LandingZone], frames: FrameWriter
    ) -> Result:
        """Vectors of items, as the landing zone states them; of one length, and each item once."""
        return frames.write(
            context,
            lambda _: landing.embeddings(),
            params={"files": landing.digests("embeddings", "")},
        )

    return item_embeddings
