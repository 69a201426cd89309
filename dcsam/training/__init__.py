"""Training of DC-SAM: its task, what is trained, examples and the cache of frozen features."""
