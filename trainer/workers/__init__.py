"""Rollout workers and reward actors as seen from the driver: jobs in, scored episodes out."""
