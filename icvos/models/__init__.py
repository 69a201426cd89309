"""The plugin interface, the registry of methods, lifting image models to video, and the conformance check."""
