"""Which models there are and what stands as of a day: champion, challenger, experiments, results of searches.

Belongs here: reading and recording the life of models in the store, approval decisions, the MLflow flavour. Does not
belong here: the rule that decides (``core.gate``), tracking runs in MLflow (``resources.tracking``).
"""
