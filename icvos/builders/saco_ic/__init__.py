"""An in-context video benchmark from SA-Co/VEval: frames of one video support a phrase that was asked of another."""
