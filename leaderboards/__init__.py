"""What the papers printed (published.csv, package data); in a checkout also the records of submissions."""
