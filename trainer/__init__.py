"""The controller, the PPO learner, fine-tuning, evaluation and tracking."""
