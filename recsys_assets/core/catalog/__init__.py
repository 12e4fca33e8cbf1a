"""What is known about items as of a day: properties, the category tree, embeddings.

Belongs here: as-of joins of item properties and parsing of trees and vectors. Does not belong here: how often items are
used (``core.activity``).
"""
