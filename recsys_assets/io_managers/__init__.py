"""Between Dagster and the store: handles of partitions on the way in, audited files on the way out.

Belongs here: the IO manager, the frame writer that stages and audits, the types that pass between assets. Does not
belong here: storage layouts (``storage``), connections (``resources``).
"""
