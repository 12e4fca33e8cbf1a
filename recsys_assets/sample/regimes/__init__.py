"""Regimes: small data sets with planted truth, each of a kind of demand that a recommender has to tell by itself.

Belongs here: a module for each process, and what writes one as files with its ``dataset.toml``. Does not belong here:
how well the platform does on them (``benchmarks/regimes.py``).
"""
