"""A benchmark's Croissant 1.1 file: one file beside the benchmark, read by machines."""

from icvos.exports.croissant.file import compose
from icvos.exports.croissant.verify import problems

__all__ = ["compose", "problems"]
