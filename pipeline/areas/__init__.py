"""Areas of a map's classes on the ellipsoid, in zones, and corrected by reference points."""
