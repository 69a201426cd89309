"""Semi-supervised VOS: each object of a data set as an episode, told by its mask on frame 0."""
