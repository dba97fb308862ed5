"""The stages of a run: fine-tuning, PPO, evaluation."""
