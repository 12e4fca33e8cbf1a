"""The landing zone: which files there are, which count, staging them by day, and the suppression list.

Belongs here: files and their bookkeeping in the store. Does not belong here: parsing of rows (``core.events``),
Dagster's handle of the landing zone (``resources.landing``).
"""
