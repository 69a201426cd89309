"""The ladder: published figures, the commands that should give them here, and how near is near enough."""
