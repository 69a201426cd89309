"""The builder of mask-tube pseudo-videos."""
