"""Grafana's dashboards as code: ``python -m dashboards`` writes ``docker/grafana/dashboards/*.json``."""
