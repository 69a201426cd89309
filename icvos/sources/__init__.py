"""Readers of raw data sets, one small file each."""
