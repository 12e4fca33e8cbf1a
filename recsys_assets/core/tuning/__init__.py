"""Searches for parameters: trials, budgets, coordinate search and the storage of studies.

Belongs here: what is common to all searches. Does not belong here: what is searched (``core.retrieval``,
``core.ranking``).
"""
