"""SAM, SAM 2, backbones, the prior mask and weights: the one place that imports segment_anything and sam2."""
