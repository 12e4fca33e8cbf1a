"""The assets: what each artifact reads, how it is described and which checks it reports.

Belongs here: functions of at most 40 lines that take typed inputs, call ``core`` once and return a result with metadata
and checks; ``builder``, which gives all of them partitions, owners, pools and policy. Does not belong here: computation
(``core``), reading and writing (``io_managers``), what starts runs (``automation``).
"""
