"""Grafana's dashboards as code: ``docker/grafana/write_dashboards.py`` writes ``docker/grafana/dashboards/*.json``."""
