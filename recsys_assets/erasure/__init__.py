"""Erasing a person: finding rows, rewriting what was staged, materializing again what was made of them, the report.

Belongs here: the plan of an erasure and the job ``erase_user``. Does not belong here: the suppression list, which
reading files consults (``ingest``).
"""
