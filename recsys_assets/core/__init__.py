"""The pure logic: functions over lazy frames and arrays, without Dagster, storage or clocks.

Belongs here: contracts, the engine protocol, and one package per step from events to lists. The packages are layers;
each imports lower ones only (``pyproject.toml`` lists them). Does not belong here: reading or writing partitions, where
settings come from, anything that differs between engines (``engines``).
"""
