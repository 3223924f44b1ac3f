"""How a distance to the training is written: in percent, as uint8 (`training_sample`).

A module of its own, so that a product's layers are known without importing torch.
"""

MOST_PERCENT = 254
"""Larger percentages are written as this."""
NO_PERCENT = 255
"""The value of a pixel without an embedding."""
