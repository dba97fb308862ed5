"""The schema of the configuration: every key, its type and what is allowed."""
