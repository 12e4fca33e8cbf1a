"""The routes, one module per group of them.

Belongs here: parameters, status codes and which function answers. Does not belong here: loading of releases
(``recsys_api.reloader``).
"""
