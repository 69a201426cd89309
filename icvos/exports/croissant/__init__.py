"""A benchmark's Croissant 1.1 file: one file beside the benchmark, read by machines."""

from icvos.exports.croissant.check import problems
from icvos.exports.croissant.file import compose

__all__ = ["compose", "problems"]
