"""The gate: one rule that decides which model orders the lists, for daily rankers and experiments alike.

Belongs here: the decision and its reasons. Does not belong here: measuring (``core.evaluation``), or storing who is
champion (``recsys_assets.model_registry``).
"""
