"""What a shop states about its places: filters, boosts, rules, and the file that names them.

Belongs here: the language of filters and the shape of ``placements.toml``, which the graph checks and the API applies.
Does not belong here: applying them (``recsys_api``).
"""
