"""Final lists: ordering candidates, re-ranking policy, new-item quota, and what the policy costs.

Belongs here: what happens between scores and what a user sees. Does not belong here: scores (``core.ranking``), or
serving (``recsys_api``).
"""
