"""Engines: Polars, DuckDB and Spark behind the protocol of ``core.engine``.

Belongs here: everything that differs between engines. Does not belong here: frame logic, which is written once in
``core`` and does not depend on the engine.
"""
