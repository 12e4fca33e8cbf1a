"""The pure logic: functions over lazy frames and arrays, without Dagster, storage or clocks.

Belongs here: contracts, the engine protocol, and one room per step from events to lists. The rooms are floors; each
imports lower ones only (``pyproject.toml`` lists them). Does not belong here: reading or writing partitions, settings,
anything that differs between engines (``engines``).
"""
