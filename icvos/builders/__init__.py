"""Builders of benchmarks and data sets."""
