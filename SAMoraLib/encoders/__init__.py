"""Image encoders: the packages' own modules, with blocks that can run an adapter."""
