"""Experiments described by a YAML file: configuration, model kinds, metrics, choice of the best.

Belongs here: parsing a configuration and training what it describes. Does not belong here: the product's own ranker
(``core.ranking``), or whether an experiment's model is promoted (``core.gate``).
"""
