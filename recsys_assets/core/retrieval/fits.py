"""The generators of models that import slow packages, as the graph declares them.

The models themselves are imported when they run: SciPy takes half a second, which loading the graph must not cost.
"""

from __future__ import annotations

import pyarrow as pa

from recsys_assets.core.engine import Frame
from recsys_assets.core.retrieval.protocol import Derived, FitContext, Fitted, RetrievalContext


def _cf_ensemble(context: RetrievalContext, k: int) -> Frame:
    from recsys_assets.core.retrieval.cf_ensemble import recommend

    model = context.inputs.cf_ensemble
    if model is None:
        raise ValueError("cf_ensemble: its models are not among the inputs")
    weights, unavailable, most = context.params.ensemble_weights, context.unavailable_items(), context.more(k)
    return context.by_users(context.model_history, lambda some: recommend(model, some, most, weights, unavailable))


def _sessions(context: RetrievalContext, k: int) -> Frame:
    from recsys_assets.core.retrieval.next_in_session import recommend

    inputs = context.inputs
    if inputs.session_model is None:
        raise ValueError("sessions: the session model is not among the inputs")
    clicks = inputs.clicks.join(context.users, on="user_id", how="semi")
    return context.engine.from_arrow(
        recommend(inputs.session_model, clicks, context.more(k), context.unavailable_items())
    )


def _fit_nearest(context: FitContext) -> bytes:
    from recsys_assets.core.retrieval.by_embedding import fit

    return fit(context)


def _nearest(state: bytes, history: pa.Table, k: int, exclude: pa.Array) -> pa.Table:
    from recsys_assets.core.retrieval.by_embedding import recommend

    return recommend(state, history, k, exclude)


CF_ENSEMBLE = Derived(
    about="New items by iALS, graph filters, EASE, RP3beta and item-kNN, weighed by what they found lately.",
    recommend=_cf_ensemble,
)

SESSIONS = Derived(
    about="What sessions like the user's last clicks went on to: session-kNN and linked items.",
    recommend=_sessions,
)

NEAREST = Fitted(
    about="Items whose embeddings are nearest to those of what the user touched.",
    fit=_fit_nearest,
    recommend=_nearest,
    weight=0.5,
    reads=("item_embeddings",),
    code_version="3",
)
