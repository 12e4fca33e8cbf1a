"""Changes of the catalogue that are served at once: availability, price, category.

Belongs here: what a change is, how it is read from a request, and a release with changes. Does not belong here: where
changes are stored (``recsys_api.events``).
"""
