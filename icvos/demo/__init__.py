"""The demo: a synthetic world, benchmarks made of it, and training for it."""
