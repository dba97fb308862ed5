"""Problems, prompts and episodes: data sets, strategies, the policy engine, solvers, the rollout worker."""
