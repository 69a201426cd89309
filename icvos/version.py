"""The version, apart from everything else so that it can be read without importing the toolkit."""

__version__ = "0.2.0"
