"""``python -m launch.evaluate``: compare decomposers, solvers, strategies and data sets."""
