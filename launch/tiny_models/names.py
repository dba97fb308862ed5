"""The names of the tiny models' folders."""

# How those of a task begin.
NAMES = {"chained": "tiny", "branched": "tiny_branched"}
