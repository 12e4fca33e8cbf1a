"""Learning to rank: labelled examples, splits, the kinds of ranker, their file formats and their tuning.

Belongs here: what turns features of candidates into a score. Does not belong here: the features themselves
(``core.retrieval``), or the decision whether a ranker is used (``core.gate``).
"""
