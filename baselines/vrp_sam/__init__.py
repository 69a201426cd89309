"""VRP-SAM (arXiv 2402.17726): its plugin, model and training."""
