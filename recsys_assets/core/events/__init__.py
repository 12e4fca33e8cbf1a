"""From files to clean events: reading rows, parsing values, schema differences, cleaning.

Belongs here: everything about one row or one file. Does not belong here: which files there are and which count
(``recsys_assets.ingest``), sums over events (``core.activity``).
"""
