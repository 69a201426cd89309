"""PFENet (arXiv 2008.01449): its plugin, model, data and training."""
