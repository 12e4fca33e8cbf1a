"""Figures and charts for people: the report of a day's data and the report of a backtest.

Belongs here: what is counted for a report, and pages and charts of it. Does not belong here: anything that another
asset reads.
"""
