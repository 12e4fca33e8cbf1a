"""What files of unknown origin hold, and a first description of them: what ``recsys check`` says.

Belongs here: guesses, which a person confirms. Does not belong here: how files are read once they are described
(``core/events``).
"""
