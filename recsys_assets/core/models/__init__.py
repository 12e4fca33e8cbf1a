"""Models of users and items: popularity, co-visitation, matrix factorization, graph and item models, sessions.

Belongs here: fitting a model to interactions and scoring items with it. Does not belong here: how many candidates each
may bring and how they are fused (``core.retrieval``), learning to rank (``core.ranking``).
"""
