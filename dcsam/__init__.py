"""DC-SAM, the reference plugin."""
