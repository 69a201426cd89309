"""What is drawn from raw images: class masks, folds, episodes, support draws, mask tubes, pairs."""
