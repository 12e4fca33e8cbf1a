"""Load on a running API, by locust: ``make load``.

Belongs here: what visitors of a shop ask. Does not belong here: figures of one machine (``benchmarks.serving``).
"""
