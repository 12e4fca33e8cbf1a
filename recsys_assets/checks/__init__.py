"""Asset checks: results of rules in ``core`` as Dagster shows them, blocking or as a warning.

Belongs here: checks of a partition and of the bytes of a release. Does not belong here: the column contracts
themselves (``core.contracts``) and the audit that compares a frame with them (``core.quality``).
"""
