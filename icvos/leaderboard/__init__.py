"""Tables, statistics, rendering and submissions."""
