"""Reports: one run, or two compared, in pictures."""
