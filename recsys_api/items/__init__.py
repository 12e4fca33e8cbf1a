"""Changes of the catalogue that are served at once: availability, price, category, brand, title.

Belongs here: how changes are read from a request, and a release with changes. Does not belong here: what a change is
and where it is stored (``recsys_api.events``).
"""
