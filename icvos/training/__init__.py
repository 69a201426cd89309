"""The trainer that icvos train runs."""
