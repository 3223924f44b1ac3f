"""The sample archive: a synthetic landscape as a public Sentinel-2 catalogue would publish it."""
