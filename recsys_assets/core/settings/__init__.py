"""The fields of the settings, a section per file; ``docs/settings.md`` has a table of each.

Belongs here: names, types, bounds, defaults and descriptions. Does not belong here: where values come from, and
defaults that depend on the data set or on other settings (``recsys_assets.settings``).
"""
