"""The page on which a person labels objects."""
