"""Matcher (arXiv 2305.13310): its plugin and the matching of patches."""
