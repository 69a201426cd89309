"""A benchmark as the Hugging Face Hub takes it: a dataset card and Parquet tables."""

from icvos.exports.hub.tables import write
from icvos.exports.hub.verify import problems

__all__ = ["problems", "write"]
