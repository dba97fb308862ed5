"""The arithmetic of PPO: experience, advantages, losses, staleness."""
