"""A recommender platform as a Dagster asset graph: from raw events to released recommendations.

Read ``definitions`` first: it wires everything. ``settings``, ``partitions`` and ``jobs`` say how a deployment differs,
which days there are and what people start. Each room's docstring says what belongs there. Rooms import lower ones only;
``pyproject.toml`` states the order and ``make lint`` checks it. Nothing else lies at the root.
"""
