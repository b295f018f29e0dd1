"""Where things are: projection, depth, motion between moments, superpoints."""
