"""``python -m launch.tiny_models``: make the models that ship with the project."""
