"""Training on the demo's synthetic world."""
