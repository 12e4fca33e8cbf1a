"""The graph as a component of other people's ``dg`` projects.

Belongs here: components, their attributes and what ``dg scaffold`` writes. Does not belong here: anything that differs
between such a project and this one below the definitions.
"""
