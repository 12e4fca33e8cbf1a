"""The generated shop: events, items and categories that look like a real shop's, from one seed.

Belongs here: what makes the sample files. Does not belong here: anything that other packages need; the sample enters
the graph through the landing zone like any data.
"""
