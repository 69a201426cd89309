"""Competitions on Codabench (https://www.codabench.org): the bundle that makes one, and the program that scores it."""
