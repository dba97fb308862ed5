"""The run's folder: files, checkpoints, locks, the mirror, and what a resume allows."""
