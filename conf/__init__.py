"""Hydra's configuration groups, and in ``schema`` the type and limits of every key."""
