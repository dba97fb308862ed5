"""``python -m launch.prepare_data``: check and convert data sets."""
