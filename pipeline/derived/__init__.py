"""Runs that are made of finished runs: smoothed maps, and the changes between two maps."""
