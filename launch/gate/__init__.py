"""``python -m launch.gate``: whether a solver and a fine-tuned decomposer leave PPO something to learn."""
