"""Faults in real runs: real processes are killed, starved and lied to, by a seed.

`python -m tests.faults --count 200` tries two hundred; `--seed N` alone tries one again.
"""
