"""``python -m launch.ask``: put questions of one's own to a trained decomposer and a solver."""
