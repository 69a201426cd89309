"""Exports: benchmarks and runs in the forms that other tools read."""
