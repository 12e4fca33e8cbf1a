"""Dagster resources: connections and handles that assets ask for by name.

Belongs here: thin adapters around the store, engines, the landing zone, MLflow and notifiers; the names of a graph
under a prefix. Does not belong here: logic that could be tested without Dagster.
"""
