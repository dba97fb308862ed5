"""Metrics: their names, the local files, W&B, the live view."""
