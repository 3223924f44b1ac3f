"""What a checkpoint or a map is worth: pure functions from arrays to metrics, and their report."""
