"""Measuring lists against what happened later: metrics, paired intervals, one window, many windows.

Belongs here: metrics per user, the bootstrap, the evaluator of one window. Does not belong here: what follows from the
figures (``core.gate``).
"""
