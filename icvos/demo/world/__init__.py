"""The demo world: drawn shapes on textured scenes, told apart by their outline alone."""
