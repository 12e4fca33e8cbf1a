"""Candidates: generators, how their lists are fused, the features of candidates, and the search for parameters.

Belongs here: one module per generator, the fusion, the joining of features. Does not belong here: the models that
generators ask (``core.models``).
"""
