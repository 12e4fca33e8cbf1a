"""What starts runs without a person: policy, sensors, schedules, and what they compare to find out what is outdated.

Belongs here: decisions about which partitions to materialize, cursors, reading the event log, notifications, running
jobs in this process. Does not belong here: what the runs do (``assets``), or taking files in (``ingest``).
"""
