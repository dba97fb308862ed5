"""Hand a run to a cluster: to Ray's job server, or to SLURM."""
