"""Daily aggregates of events that merge by adding, and the rule that separates bots from people.

Belongs here: counts per user, item and pair of one day, and how days merge. Does not belong here: rankings and
similarities made of them (``core.models``).
"""
