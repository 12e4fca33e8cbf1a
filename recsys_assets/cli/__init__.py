"""What ``make`` calls: run and smoke, SQL, the MLflow UI, the table of settings.

Belongs here: argument parsing, child processes, progress on the terminal. Does not belong here: anything that a Dagster
run needs; nothing below imports this package.
"""
