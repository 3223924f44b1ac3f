"""The training data of the checkpoint `real-land`: labelled series of real land, and texts."""
