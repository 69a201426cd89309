"""Baseline methods, one file each: they know only the plugin interface, the foundation models and the trainer."""
