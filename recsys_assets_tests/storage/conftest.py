"""Stores of every kind; see ``stores``."""

from recsys_assets_tests.stores import moto_bucket, new_store, store

__all__ = ["moto_bucket", "new_store", "store"]
