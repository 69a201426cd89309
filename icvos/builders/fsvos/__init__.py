"""Builder of YouTube-FSVOS, few-shot video object segmentation."""
