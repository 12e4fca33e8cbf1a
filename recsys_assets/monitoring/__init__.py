"""Figures of the pipeline for Prometheus, and alerts on their way to people.

Belongs here: what is read of Dagster's instance and of the store to be watched, and how it is served. Does not belong
here: what the API counts (``recsys_api.metrics``), rules (``docker/prometheus``), dashboards (``docker/grafana``).
"""
