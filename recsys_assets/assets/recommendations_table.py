"""Group serving: the lists of the served release in PostgreSQL, for programs that ask a database."""

from typing import Any

import dagster as dg

from recsys_assets.assets.builder import CHECKS, OWNERS, GraphBuilder
from recsys_assets.resources.naming import Names
from recsys_assets.resources.store import StoreResource
from recsys_assets.settings import Settings
from recsys_assets.storage.recommendations_table import Followed, RecommendationsTable

TABLE = "recommendations_table"
FOLLOWS = "table_is_served"


def table_of(settings: Settings) -> RecommendationsTable | None:
    """The tables that the settings name; nothing is opened yet. None: no database is stated.

    Raises:
        ValueError: the address is not one of PostgreSQL.
    """
    url = settings.recommendations_url.get_secret_value()
    try:
        return RecommendationsTable(url, settings.recommendations_schema) if url else None
    except ValueError as error:
        raise ValueError(f"RECSYS_RECOMMENDATIONS_URL: {error}") from None


def build(graph: GraphBuilder) -> list[dg.AssetsDefinition]:
    """The tables, where a database is stated."""
    names, table = graph.names, table_of(graph.settings)
    if table is None:
        return []

    @dg.asset(
        key=names.key(TABLE),
        group_name=names("serving"),
        deps=[names.key("release")],
        kinds={"postgres", "table"},
        owners=OWNERS,
        code_version="1",
        pool=names(TABLE),
        check_specs=[dg.AssetCheckSpec(FOLLOWS, asset=names.key(TABLE), description=CHECKS[FOLLOWS])],
    )
    @names.bind
    def recommendations_table(context: dg.AssetExecutionContext, store: StoreResource) -> dg.MaterializeResult:  # pyright: ignore[reportMissingTypeArgument]
        """Recommendations, similar and popular items of the served release in PostgreSQL: one state, and no days.

        It follows the pointer after each of its moves: a release, an approval, a rollback, an erasure.
        """
        releases = store.releases()
        followed = table.follow(releases)
        if followed is None:
            raise dg.Failure("nothing is served yet that could be loaded", allow_retries=False)
        if followed.old_left:
            context.log.warning("a reader keeps the rows of an older load from being dropped; the next load drops them")
        served = releases.current()
        return dg.MaterializeResult(
            metadata=described(table, followed),
            data_version=dg.DataVersion(followed.loaded.manifest_sha256),
            check_results=[follows(names, followed.loaded.release_id, served.release_id if served else None)],
        )

    return [recommendations_table]


def described(table: RecommendationsTable, followed: Followed) -> dict[str, Any]:
    """The metadata of a load in the UI."""
    return {
        "database": table.address,
        "release_id": followed.loaded.release_id,
        "as_of": followed.loaded.as_of.isoformat(),
        "loaded": "by this run" if followed.changed else "before",
        "load": followed.loaded.load,
        **{f"{name}_rows": rows for name, rows in followed.rows.items()},
        "dagster/row_count": sum(followed.rows.values()),
        "bytes": followed.bytes,
        "seconds": round(followed.seconds, 3),
        "old_rows_left": followed.old_left,
    }


def follows(names: Names, loaded: str | None, served: str | None) -> dg.AssetCheckResult:
    """Whether the tables show the served release.

    Args:
        names: of the graph.
        loaded: the release that they show.
        served: the release that the pointer names.
    """
    return dg.AssetCheckResult(
        asset_key=names.key(TABLE),
        check_name=FOLLOWS,
        passed=loaded == served,
        metadata={"loaded": loaded or "nothing yet", "served": served or "nothing yet"},
    )
