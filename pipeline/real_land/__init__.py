"""Labelled series of real land, from tables of other calendars, and what is said of their classes.

`python -m pipeline.real_land TABLES OUT` makes of them what `timesen dataset` takes.
"""
