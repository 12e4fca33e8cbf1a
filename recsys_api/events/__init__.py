"""Events as users post them: validation, the durable stores, and their way back to the landing zone.

Belongs here: what an event is and where it is kept, and the same of a change of an item. Does not belong here: routes,
and what recommendations make of events.
"""
