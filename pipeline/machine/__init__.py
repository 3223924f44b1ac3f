"""How fast this machine reads, encodes and writes, measured for plans of runs."""
