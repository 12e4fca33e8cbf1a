"""Stores of every kind; see ``stores``."""

from recsys_assets_tests.stores import ceph, moto_bucket, new_store, store

__all__ = ["ceph", "moto_bucket", "new_store", "store"]
