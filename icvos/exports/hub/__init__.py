"""A benchmark as the Hugging Face Hub takes it: a dataset card and Parquet tables."""

from icvos.exports.hub.check import problems
from icvos.exports.hub.tables import write

__all__ = ["problems", "write"]
