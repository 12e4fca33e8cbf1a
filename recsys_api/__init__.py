"""The API: reads the released files and answers requests; independent of Dagster.

Belongs here: the app, loading and swapping of releases, request and response models. Does not belong here: computing
recommendations.
"""
