"""The sample archive: a made landscape as a public Sentinel-2 catalogue would publish it."""
