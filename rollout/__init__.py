"""Problems, prompts and episodes: data sets, strategies, the policy engine, solvers, the rollout worker."""

from rollout.signals import stop_commands

stop_commands()
