"""The builder of IC-VOS."""
