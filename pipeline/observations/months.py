"""The months of a series."""

MONTHS = 12
"""Composites of a pixel's series, January first."""
