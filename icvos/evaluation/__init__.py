"""Protocols, scoring, run records and the runner."""
