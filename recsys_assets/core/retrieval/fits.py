"""The fitted generators, as the graph declares them.

The fits themselves are imported when they run: SciPy takes half a second, which loading the graph must not cost.
"""

from __future__ import annotations

import pyarrow as pa

from recsys_assets.core.retrieval.protocol import FitContext, Fitted


def _cf_ensemble(context: FitContext) -> pa.Table:
    from recsys_assets.core.retrieval.cf_ensemble import recommend

    return recommend(context)


def _sessions(context: FitContext) -> pa.Table:
    from recsys_assets.core.retrieval.next_in_session import recommend

    return recommend(context)


def _nearest(context: FitContext) -> pa.Table:
    from recsys_assets.core.retrieval.by_embedding import recommend

    return recommend(context)


CF_ENSEMBLE = Fitted(
    about="New items by iALS, a graph filter, EASE, RP3beta and item-kNN, weighed by what they found lately.",
    fit=_cf_ensemble,
    reads=("cf_ensemble_scores",),
    code_version="2",
)

SESSIONS = Fitted(
    about="What sessions like the user's last clicks went on to: session-kNN and linked items.",
    fit=_sessions,
    reads=("clean_events",),
    code_version="2",
)

NEAREST = Fitted(
    about="Items whose embeddings are nearest to those of what the user touched.",
    fit=_nearest,
    weight=0.5,
    reads=("item_embeddings",),
)
